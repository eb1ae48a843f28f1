/* Addresses of the guest. */
#ifndef EXEC_HWADDR_H
#define EXEC_HWADDR_H

#include <inttypes.h>

#define HWADDR_BITS 64
#define HWADDR_MAX UINT64_MAX
#define HWADDR_PRIx PRIx64
#define HWADDR_PRIX PRIX64
#define HWADDR_PRId PRId64
#define HWADDR_PRIu PRIu64
#define HWADDR_FMT_plx "%016" PRIx64
#define TARGET_FMT_plx HWADDR_FMT_plx

typedef uint64_t hwaddr;
typedef uint64_t dma_addr_t;
typedef uint64_t ram_addr_t;
typedef uint64_t pcibus_t;

#define FMT_PCIBUS PRIx64
#define DMA_ADDR_FMT "%#" PRIx64
#define DMA_ADDR_BITS 64
#define RAM_ADDR_FMT "%" PRIx64

#endif
