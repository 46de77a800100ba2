//! A proxy as some networks have it: it passes HTTP on and knows no WebSocket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

/// Starts it on a port of its own, before a server; it ends with the test's process.
pub fn without_websockets(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = server.clone();
            // A connection that breaks is the client's matter.
            std::thread::spawn(move || _ = pass_on(client, &server));
        }
    });
    address
}

fn pass_on(mut client: TcpStream, server: &str) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if String::from_utf8_lossy(&head).to_ascii_lowercase().contains("upgrade: websocket") {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 15\r\nconnection: close\r\n\r\nnot through me\n");
    }
    let mut server = TcpStream::connect(server)?;
    server.write_all(&head)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        _ = io::copy(&mut from_client, &mut to_server);
        _ = to_server.shutdown(Shutdown::Write);
    });
    _ = io::copy(&mut server, &mut client);
    client.shutdown(Shutdown::Both)
}
