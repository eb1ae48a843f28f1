#include "hw/qdev-properties.h"
