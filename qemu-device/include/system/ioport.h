#include "system/memory.h"
