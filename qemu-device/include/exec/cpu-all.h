#include "system/dma.h"
