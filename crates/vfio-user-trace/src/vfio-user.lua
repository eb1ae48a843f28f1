-- Wireshark's dissector for vfio-user messages, as `my-rng-server trace --format pcapng` writes them:
-- a message is a packet of link type USER0. All numbers are in the byte order of the host that
-- recorded them, which is little endian.

local vfio_user = Proto("vfio_user", "vfio-user")

local commands = {
    [1] = "VERSION", [2] = "DMA_MAP", [3] = "DMA_UNMAP", [4] = "DEVICE_GET_INFO",
    [5] = "DEVICE_GET_REGION_INFO", [6] = "DEVICE_GET_REGION_IO_FDS", [7] = "DEVICE_GET_IRQ_INFO",
    [8] = "DEVICE_SET_IRQS", [9] = "REGION_READ", [10] = "REGION_WRITE", [11] = "DMA_READ",
    [12] = "DMA_WRITE", [13] = "DEVICE_RESET", [15] = "REGION_WRITE_MULTI", [16] = "DEVICE_FEATURE",
    [17] = "MIG_DATA_READ", [18] = "MIG_DATA_WRITE",
}
local types = { [0] = "command", [1] = "reply" }
local regions = {
    [0] = "BAR0", [1] = "BAR1", [2] = "BAR2", [3] = "BAR3", [4] = "BAR4", [5] = "BAR5", [6] = "ROM",
    [7] = "configuration space", [8] = "VGA",
}
local indexes = { [0] = "INTx", [1] = "MSI", [2] = "MSI-X", [3] = "error", [4] = "request" }

local field = {
    id = ProtoField.uint16("vfio_user.id", "Message id"),
    command = ProtoField.uint16("vfio_user.command", "Command", base.DEC, commands),
    size = ProtoField.uint32("vfio_user.size", "Message size"),
    flags = ProtoField.uint32("vfio_user.flags", "Flags", base.HEX),
    kind = ProtoField.uint32("vfio_user.type", "Type", base.DEC, types, 0xf),
    no_reply = ProtoField.bool("vfio_user.no_reply", "No reply", 32, nil, 0x10),
    is_error = ProtoField.bool("vfio_user.is_error", "Error", 32, nil, 0x20),
    errno = ProtoField.uint32("vfio_user.errno", "Errno"),
    major = ProtoField.uint16("vfio_user.version.major", "Major version"),
    minor = ProtoField.uint16("vfio_user.version.minor", "Minor version"),
    json = ProtoField.string("vfio_user.version.data", "Capabilities"),
    argsz = ProtoField.uint32("vfio_user.argsz", "argsz"),
    what = ProtoField.uint32("vfio_user.request_flags", "Request flags", base.HEX),
    offset = ProtoField.uint64("vfio_user.offset", "Offset", base.HEX),
    address = ProtoField.uint64("vfio_user.address", "Address", base.HEX),
    length = ProtoField.uint64("vfio_user.length", "Size", base.HEX),
    region = ProtoField.uint32("vfio_user.region", "Region", base.DEC, regions),
    count = ProtoField.uint32("vfio_user.count", "Count"),
    count64 = ProtoField.uint64("vfio_user.dma.count", "Count"),
    value = ProtoField.uint64("vfio_user.value", "Value", base.HEX),
    data = ProtoField.bytes("vfio_user.data", "Data"),
    index = ProtoField.uint32("vfio_user.irq.index", "Interrupt index", base.DEC, indexes),
    start = ProtoField.uint32("vfio_user.irq.start", "First vector"),
    regions = ProtoField.uint32("vfio_user.num_regions", "Regions"),
    irqs = ProtoField.uint32("vfio_user.num_irqs", "Interrupt indexes"),
    cap_offset = ProtoField.uint32("vfio_user.cap_offset", "Offset of the capabilities"),
}
for _, one in pairs(field) do
    table.insert(vfio_user.fields, one)
end

-- Adds fields one behind the other, as far as there are bytes; returns where the rest begins.
local function add(tree, buffer, at, layout)
    for _, part in ipairs(layout) do
        local one, size = part[1], part[2]
        if at + size > buffer:len() then
            return buffer:len()
        end
        tree:add_le(one, buffer(at, size))
        at = at + size
    end
    return at
end

local function add_data(tree, buffer, at)
    local left = buffer:len() - at
    if left <= 0 then
        return ""
    end
    tree:add(field.data, buffer(at))
    if left <= 8 then
        local value = buffer(at):le_uint64()
        tree:add_le(field.value, buffer(at))
        return " = 0x" .. value:tohex():gsub("^0+(%x)", "%1")
    end
    return " (" .. left .. " bytes)"
end

local argsz, what = { field.argsz, 4 }, { field.what, 4 }
local layouts = {
    [2] = { argsz, what, { field.offset, 8 }, { field.address, 8 }, { field.length, 8 } },
    [3] = { argsz, what, { field.address, 8 }, { field.length, 8 } },
    [4] = { argsz, what, { field.regions, 4 }, { field.irqs, 4 } },
    [5] = { argsz, what, { field.region, 4 }, { field.cap_offset, 4 }, { field.length, 8 },
        { field.offset, 8 } },
    [7] = { argsz, what, { field.index, 4 }, { field.count, 4 } },
    [8] = { argsz, what, { field.index, 4 }, { field.start, 4 }, { field.count, 4 } },
    [9] = { { field.offset, 8 }, { field.region, 4 }, { field.count, 4 } },
    [11] = { { field.address, 8 }, { field.count64, 8 } },
    [16] = { argsz, what },
}
layouts[10] = layouts[9]
layouts[12] = layouts[11]

local function payload(tree, buffer, command)
    if command == 1 then
        local at = add(tree, buffer, 16, { { field.major, 2 }, { field.minor, 2 } })
        if at < buffer:len() then
            tree:add(field.json, buffer(at))
        end
        return ""
    end
    local at = add(tree, buffer, 16, layouts[command] or {})
    local words = ""
    if (command == 9 or command == 10) and buffer:len() >= 32 then
        local region = buffer(24, 4):le_uint()
        local offset = buffer(16, 8):le_uint64():tohex():gsub("^0+(%x)", "%1")
        words = " " .. (regions[region] or ("region " .. region)) .. "+0x" .. offset
    elseif (command == 11 or command == 12) and buffer:len() >= 32 then
        words = " 0x" .. buffer(16, 8):le_uint64():tohex():gsub("^0+(%x)", "%1")
    end
    return words .. add_data(tree, buffer, at)
end

function vfio_user.dissector(buffer, packet, tree)
    if buffer:len() < 16 then
        return 0
    end
    packet.cols.protocol = "vfio-user"
    local command, flags = buffer(2, 2):le_uint(), buffer(8, 4):le_uint()
    local root = tree:add(vfio_user, buffer())
    add(root, buffer, 0, { { field.id, 2 }, { field.command, 2 }, { field.size, 4 } })
    local bits = root:add_le(field.flags, buffer(8, 4))
    bits:add_le(field.kind, buffer(8, 4))
    bits:add_le(field.no_reply, buffer(8, 4))
    bits:add_le(field.is_error, buffer(8, 4))
    root:add_le(field.errno, buffer(12, 4))
    local words = payload(root, buffer, command)
    -- Bits 0 to 3 are the type, bit 5 is set for an error.
    if flags % 16 == 1 then
        words = " reply" .. words
    end
    if math.floor(flags / 32) % 2 == 1 then
        words = words .. " errno " .. buffer(12, 4):le_uint()
    end
    local name = commands[command] or ("command " .. command)
    packet.cols.info = name .. words
    return buffer:len()
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, vfio_user)
