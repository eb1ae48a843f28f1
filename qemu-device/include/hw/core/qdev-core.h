#include "hw/qdev-core.h"
