#include "system/kvm.h"
