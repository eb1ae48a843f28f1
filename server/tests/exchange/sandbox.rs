//! The sandbox of the new process, which begins in that of the old one.

use crate::exchanged::Exchanged;
use crate::in_sandbox::assert_in_sandbox;

#[test]
fn it_is_on_after_each_exchange() {
    let mut server = Exchanged::start(&["--generator", "glibc", "--seed", "1"]);
    let mut client = server.client();
    for _ in 0..3 {
        client.read_u32(0, 0);
        assert_in_sandbox(server.daemon(), server.process());
        server.exchange();
    }
    client.read_u32(0, 0);
    assert_in_sandbox(server.daemon(), server.process());
}
