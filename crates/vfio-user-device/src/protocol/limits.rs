//! What this side of the protocol accepts at most, and the version that it speaks.

/// Most bytes that one message may carry as data (`max_data_xfer_size`), the protocol's default.
pub const MAX_DATA_SIZE: usize = 1 << 20;
/// Most file descriptors that are taken in one message (`max_msg_fds`). QEMU offers 16.
pub const MAX_MESSAGE_FDS: usize = 16;
/// Most DMA regions a client may have at once (`max_dma_maps`), the protocol's default.
pub const MAX_DMA_REGIONS: usize = 65535;
/// Size of the largest DMA region, 8 TiB, as in libvfio-user.
pub const MAX_DMA_REGION_SIZE: u64 = 8 << 40;
/// Protocol version: the major number has to be equal on both sides.
pub const VERSION_MAJOR: u16 = 0;
/// Protocol version: the highest minor number that is spoken.
pub const VERSION_MINOR: u16 = 1;
