#include "qemu/bitops.h"
