#include "system/dma.h"
#include "system/memory.h"
