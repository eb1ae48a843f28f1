//! Steps 6 to 10: a driver in the guest.

use std::path::Path;

use checker::access_log::Named;
use checker::stop::{Checked, Stop, ensure};

use super::loaded::{Loaded, NODE, with_driver};
use super::{Bench, values};
use crate::guests::{Device, SLOT};

/// Prints words of 4 bytes, one in a line.
const WORDS: &str = r#"hexdump -v -e '1/4 "%08x\n"'"#;
/// How often the driver may look at STATUS for each number.
const STATUS_READS: usize = 3;

/// Step 6, first part: the driver takes the device, and has a node.
pub fn finds_its_device(file: &Path, bench: &mut Bench<'_>) -> Checked {
    with_driver(file, &Device::Published, bench, |driver| driver.has_node())
}

/// Step 7: read() gives as many bytes as are wanted, to several processes at once.
pub fn read(file: &Path, bench: &mut Bench<'_>) -> Checked {
    with_driver(file, &Device::Published, bench, |driver| {
        driver.has_node()?;
        let (words, accesses) = read_words(driver, 4, 3)?;
        ensure(words.len() == 3, || {
            format!(
                "three read() of 4 bytes gave {} numbers: read() returns how many bytes it has \
                 copied",
                words.len()
            )
        })?;
        same(&words, &values(&accesses, "RANDOM"))?;
        let (words, accesses) = read_words(driver, 64, 1)?;
        ensure(words.len() == 16, || {
            format!("one read() of 64 bytes gave {} numbers; it has to give 16", words.len())
        })?;
        same(&words, &values(&accesses, "RANDOM"))?;
        let count =
            driver.run(&format!("dd if={NODE} bs=6 count=1 2>/dev/null | wc -c"), "a read()")?;
        ensure(count.trim() == "6", || {
            format!("one read() of 6 bytes gave {}: the last number is cut", count.trim())
        })?;
        two_readers(driver)
    })
}

/// What two processes get at once is what the device gave, each number to one of them. Tried more
/// than once: on a busy machine one of them may be done before the other has begun.
fn two_readers(driver: &mut Loaded<'_, '_>) -> Checked {
    (0..4).try_for_each(|_| read_by_two(driver))
}

fn read_by_two(driver: &mut Loaded<'_, '_>) -> Checked {
    let mark = driver.live.mark();
    // Both are there before one of them reads.
    let one =
        format!("until test -e /run/go; do :; done; dd if={NODE} bs=4096 count=2 2>/dev/null");
    let command = format!(
        "rm -f /run/go; ({one}) >/run/one & ({one}) >/run/two & \
         sleep 0.1; touch /run/go; wait; cat /run/one /run/two | {WORDS}"
    );
    let mut words = words(&driver.run(&command, "reading by two processes at once")?);
    let mut given = values(&driver.live.accesses_since(mark)?, "RANDOM");
    ensure(words.len() == 4 * 1024, || {
        format!("two processes that read 2048 numbers each at once got {} in all", words.len())
    })?;
    words.sort_unstable();
    given.sort_unstable();
    ensure(words == given, || {
        "two processes that read at once got numbers of each other: they share a buffer, or another \
         variable, which has to be each call's own or needs a lock"
            .to_owned()
    })
}

/// Reads words through the driver: so many bytes at once, so many times.
fn read_words(
    driver: &mut Loaded<'_, '_>,
    bytes: usize,
    times: usize,
) -> Result<(Vec<u64>, Vec<Named>), Stop> {
    let mark = driver.live.mark();
    let command =
        format!("dd if={NODE} bs={bytes} count={times} 2>/run/said | {WORDS}; cat /run/said");
    let said = driver.run(&command, "a read()")?;
    if let Some(error) = said.lines().find(|line| line.starts_with("dd: ")) {
        return Err(Stop::failed(format!("read() fails: {error}")));
    }
    Ok((words(&said), driver.live.accesses_since(mark)?))
}

fn words(text: &str) -> Vec<u64> {
    let word = |line: &str| {
        let is_word = line.len() == 8;
        is_word.then(|| u64::from_str_radix(line, 16).ok()).flatten()
    };
    text.lines().filter_map(word).collect()
}

fn same(words: &[u64], given: &[u64]) -> Checked {
    match words.iter().enumerate().find(|(at, word)| given.get(*at) != Some(word)) {
        None => Ok(()),
        Some((at, word)) => {
            let given =
                given.get(at).map_or("no number for it".to_owned(), |one| format!("{one:#x}"));
            Err(Stop::failed(format!(
                "number {} that read() gave is {word:#x}, and the device gave {given}",
                at + 1
            )))
        }
    }
}

/// Step 8: read() has a number made and sleeps until the interrupt comes.
pub fn interrupt(file: &Path, bench: &mut Bench<'_>) -> Checked {
    with_driver(file, &Device::Interrupting, bench, |driver| {
        driver.has_node()?;
        let numbers = 8;
        let (words, accesses) = read_words(driver, 4, numbers)?;
        let made = accesses.iter().any(|one| one.place == "CONTROL" && one.value & 1 != 0);
        ensure(made, || "read() never wrote 1 to CONTROL: no number was made".to_owned())?;
        ensure(!words.contains(&0), || {
            "read() gave 0: NUMBER was read before the number was ready".to_owned()
        })?;
        ensure(words.len() == numbers, || {
            format!("{numbers} read() of 4 bytes gave {} numbers", words.len())
        })?;
        let given: Vec<u64> = values(&accesses, "NUMBER");
        same(&words, &given)?;
        let looks = values(&accesses, "STATUS").len();
        ensure(looks <= STATUS_READS * numbers, || {
            format!(
                "STATUS was read {looks} times for {numbers} numbers: the driver asks again and \
                 again; it has to sleep until the interrupt comes"
            )
        })?;
        let interrupts = driver.interrupts()?;
        ensure(interrupts >= numbers as u64, || {
            format!(
                "the driver got {interrupts} interrupts for {numbers} numbers: it waits for a time \
                 instead of for the interrupt"
            )
        })
    })
}

/// Step 9: the device writes the numbers to the driver's buffer.
pub fn dma(file: &Path, bench: &mut Bench<'_>) -> Checked {
    with_driver(file, &Device::Interrupting, bench, |driver| {
        driver.has_node()?;
        let mark = driver.live.mark();
        let result = read_words(driver, 4096, 2);
        let log = driver.live.log_since(mark);
        if let Some((_, why)) = log.lines().find_map(|line| line.split_once("failed: ")) {
            return Err(Stop::failed(format!("the device could not fill the memory: {why}")));
        }
        let (words, accesses) = result?;
        let fills = log.lines().filter(|line| line.contains("] DMA of ")).count();
        ensure(fills > 0, || {
            "read() had no memory filled: write ADDRESS and LENGTH, then 2 to CONTROL".to_owned()
        })?;
        let single = values(&accesses, "NUMBER").len() + values(&accesses, "RANDOM").len();
        ensure(single == 0 && fills <= 4, || {
            format!(
                "for 8192 bytes the driver had {fills} buffers filled and read {single} numbers one \
                 by one; two read() of 4096 bytes need two buffers and no single number"
            )
        })?;
        ensure(words.len() == 2048, || {
            format!("two read() of 4096 bytes gave {} bytes", words.len() * 4)
        })?;
        let follows = |pair: &[u64]| u64::from(after(pair[0])) == pair[1];
        match words.windows(2).position(|pair| !follows(pair)) {
            None => Ok(()),
            Some(at) => Err(Stop::failed(format!(
                "number {} is {:#x}, which is not what the device wrote: the buffer was copied \
                 before the device had filled it, or another one was",
                at + 2,
                words[at + 1]
            ))),
        }
    })
}

/// The device's next number.
fn after(number: u64) -> u32 {
    // The words have 32 bits.
    let mut state = u32::try_from(number).unwrap_or_default();
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    state
}

/// Step 10: the device goes while a program has the node open.
pub fn unplug(file: &Path, bench: &mut Bench<'_>) -> Checked {
    with_driver(file, &Device::Published, bench, |driver| {
        driver.has_node()?;
        let name = driver.name.clone();
        let get = "get() { dd bs=4 count=1 <&3 2>/dev/null | wc -c; }";
        let said = driver.run(
            &format!("exec 3<{NODE}; {get}; echo before $(get); grep '^{name} ' /proc/modules"),
            "read()",
        )?;
        ensure(said.contains("before 4"), || "read() gives no number".to_owned())?;
        // Name, size, users.
        let users = said.lines().find_map(|line| line.strip_prefix(&name)?.split(' ').nth(2));
        ensure(users != Some("0"), || {
            "the kernel would unload the module while a program has its node open: its \
             file_operations have to name their .owner"
                .to_owned()
        })?;
        // The rescan comes whatever happened before it: the next check needs the device.
        let said = driver.run(
            &format!(
                "exec 3<{NODE}; {get}\n\
                 echo 1 >{SLOT}/remove; echo removed $?\n\
                 echo after $(get)\n\
                 exec 3<&-; rmmod {name}; echo rmmod $?\n\
                 echo 1 >/sys/bus/pci/rescan\n"
            ),
            "removing the device while a program has it open",
        )?;
        let value = |what: &str| -> Option<&str> {
            said.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(' '))
        };
        // What the kernel has to say about it is told in its own words.
        let complaints = driver.live.run("dmesg", std::time::Duration::from_secs(5))?.text;
        if checker::kernel_log::worst(&complaints).is_some() {
            return Ok(());
        }
        ensure(value("after") == Some("0"), || {
            "after the device was removed, read() still gave a number: it has to return -ENODEV"
                .to_owned()
        })?;
        ensure(value("rmmod") == Some("0"), || {
            format!("after the program has closed the node, the module does not unload: {said}")
        })
    })
}
