#include "qemu-device/compiler.h"
