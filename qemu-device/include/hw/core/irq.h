#include "hw/irq.h"
