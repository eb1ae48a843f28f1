/* What goes with an access, and how it ends. */
#ifndef EXEC_MEMATTRS_H
#define EXEC_MEMATTRS_H

#include <stdint.h>

typedef struct MemTxAttrs {
    unsigned int unspecified : 1;
    unsigned int secure : 1;
    unsigned int user : 1;
    unsigned int memory : 1;
    unsigned int requester_id : 16;
} MemTxAttrs;

#define MEMTXATTRS_UNSPECIFIED ((MemTxAttrs){ .unspecified = 1 })

typedef uint32_t MemTxResult;
#define MEMTX_OK 0
#define MEMTX_ERROR (1U << 0)
#define MEMTX_DECODE_ERROR (1U << 1)
#define MEMTX_ACCESS_ERROR (1U << 2)

#endif
