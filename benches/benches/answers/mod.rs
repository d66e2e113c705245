//! A server that answers as a node does and does nothing else: two threads with epoll, no parsing, no store. What it costs is
//! the kernel's part of a delivery over loopback, the floor under the node's figures on the same machine.

use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

const THREADS: usize = 2;
const EVENTS: usize = 256;
const BUFFER_BYTES: usize = 16 * 1024;
const BACKLOG: i32 = 4096;

/// Runs until the process is killed. It says that it is ready on the port where a node does.
pub(crate) fn serve(port_offset: u16) {
    for cpu in 0..THREADS {
        let listener = listener(port_offset + 25);
        thread::spawn(move || {
            let mut cpus = rustix::thread::CpuSet::new();
            cpus.set(cpu);
            // With one CPU only, both threads share it.
            let _ = rustix::thread::sched_setaffinity(None, &cpus);
            answer_all(&listener);
        });
    }
    let status = TcpListener::bind((Ipv4Addr::LOCALHOST, port_offset + 80)).expect("the port is free");
    for connection in status.incoming() {
        let mut connection = connection.expect("somebody asks");
        let mut request = [0; 1024];
        // Whoever asks and leaves needs no answer.
        let _ = connection.read(&mut request);
        let _ = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    }
}

fn listener(port: u16) -> TcpListener {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
    sockopt::set_socket_reuseport(&socket, true).expect("SO_REUSEPORT");
    sockopt::set_tcp_nodelay(&socket, true).expect("TCP_NODELAY");
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("the port is free");
    listen(&socket, BACKLOG).expect("a listener");
    TcpListener::from(socket)
}

struct Client {
    stream: TcpStream,
    in_message: bool,
}

fn answer_all(listener: &TcpListener) {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll descriptor");
    let data =
        |descriptor: i32| epoll::EventData::new_u64(u64::try_from(descriptor).expect("descriptors are positive"));
    epoll::add(&poll, listener, data(listener.as_raw_fd()), epoll::EventFlags::IN).expect("the listener is watched");
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        events.clear();
        if epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None).is_err() {
            continue;
        }
        for event in &events {
            let index = usize::try_from(event.data.u64()).expect("it was a descriptor");
            if i32::try_from(index) == Ok(listener.as_raw_fd()) {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).expect("a socket of ours");
                    let descriptor = stream.as_raw_fd();
                    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
                    epoll::add(&poll, &stream, data(descriptor), flags).expect("the connection is watched");
                    // A client that is gone is told by its events.
                    let _ = stream.write(b"220 mx.example.org ESMTP PigeonAir ready\r\n");
                    let index = usize::try_from(descriptor).expect("descriptors are positive");
                    if clients.len() <= index {
                        clients.resize_with(index + 1, || None);
                    }
                    clients[index] = Some(Client {
                        stream,
                        in_message: false,
                    });
                }
                continue;
            }
            let Some(client) = &mut clients[index] else { continue };
            match client.stream.read(&mut buffer) {
                Ok(0) | Err(_) => clients[index] = None,
                Ok(count) => answer(client, &buffer[..count]),
            }
        }
    }
}

/// The bench's client sends whole commands, and a message in one write.
fn answer(client: &mut Client, input: &[u8]) {
    let mut output = Vec::with_capacity(512);
    let mut ends = false;
    if client.in_message {
        if !input.ends_with(b"\r\n.\r\n") {
            return;
        }
        client.in_message = false;
        output.extend_from_slice(b"250 2.0.0 ok, stored as 0000000000000001.1\r\n");
    } else {
        for line in input.split_inclusive(|byte| *byte == b'\n') {
            output.extend_from_slice(match line.first() {
                Some(b'E') => {
                    b"250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
                      250-CHUNKING\r\n250-DSN\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES\r\n"
                }
                Some(b'D') => {
                    client.in_message = true;
                    b"354 go ahead, end with <CRLF>.<CRLF>\r\n"
                }
                Some(b'Q') => {
                    ends = true;
                    b"221 2.0.0 bye\r\n"
                }
                _ => b"250 2.1.0 ok\r\n",
            });
        }
    }
    // A client that is gone is told by its events.
    let _ = client.stream.write(&output);
    if ends {
        let _ = client.stream.shutdown(Shutdown::Write);
    }
}
