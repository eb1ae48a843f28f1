#include "hw/resettable.h"
