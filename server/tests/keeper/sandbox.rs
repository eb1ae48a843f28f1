//! The sandbox of a process that goes on after another one: after a crash, and after an exchange.

use crate::in_sandbox::assert_in_sandbox;
use crate::kept::Kept;

#[test]
fn it_is_on_after_each_crash() {
    let server = Kept::start(&["--control-socket", "control"]);
    let mut client = server.client();
    for _ in 0..3 {
        client.read_u32(0, 0);
        assert_in_sandbox(server.daemon(), server.process());
        server.crash();
    }
    client.read_u32(0, 0);
    assert_in_sandbox(server.daemon(), server.process());
}
