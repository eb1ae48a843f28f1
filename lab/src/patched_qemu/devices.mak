# What the lab's guests need: the pc machine, the network card and VGA card it has by default, and
# the device itself. Everything else that a PC is made of comes along. The last two are QEMU's own
# devices that the same files are compared with in processes of their own.
CONFIG_I440FX=y
CONFIG_E1000_PCI=y
CONFIG_VGA_PCI=y
CONFIG_MY_RNG=y
CONFIG_EDU=y
CONFIG_PCI_TESTDEV=y
