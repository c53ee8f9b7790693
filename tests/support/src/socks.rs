//! A SOCKS proxy on the loopback interface: version 5 with names and passwords (RFC 1928, RFC 1929),
//! version 4 and 4a. It notes what it is asked to connect to, and resolves names by its own table.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A running proxy. It ends when it is dropped.
#[allow(missing_debug_implementations, reason = "a proxy has nothing to show")]
pub struct Socks {
    /// Its `HOST:PORT`.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

/// What a proxy knows.
struct Known {
    /// Where the hosts are that it resolves.
    hosts: HashMap<String, SocketAddr>,
    /// Who may use it; everyone where there is none.
    login: Option<(String, String)>,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What a client asks to be connected with.
enum Destination {
    Address(SocketAddr),
    Name(String, u16),
}

impl Socks {
    /// Starts one for the users of `login`, to which each of `hosts` is at the address of a server.
    pub fn new(hosts: &[(&str, SocketAddr)], login: Option<(&str, &str)>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stop): (Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let known = Arc::new(Known {
            hosts: hosts.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect(),
            login: login.map(|(user, password)| (user.to_owned(), password.to_owned())),
            asked: Arc::clone(&asked),
        });
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let known = Arc::clone(&known);
                if let Ok(client) = client {
                    std::thread::spawn(move || drop(known.serve(&client)));
                }
            }
        });
        Self { address, asked, stop }
    }

    /// What it was asked to connect to so far: an address with its port, or a name with its port.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// As many bytes as the next one says.
fn counted(from: &mut impl Read) -> io::Result<String> {
    let [count] = array(from)?;
    let mut bytes = vec![0; count.into()];
    from.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Known {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client);
        let mut writer = client;
        let [version] = array(&mut reader)?;
        let (destination, done, failed): (_, &[u8], &[u8]) = if version == 5 {
            if !self.agree(&mut reader, &mut writer)? {
                return Ok(());
            }
            (destination_5(&mut reader)?, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0], &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0])
        } else {
            (destination_4(&mut reader)?, &[0, 90, 0, 0, 0, 0, 0, 0], &[0, 91, 0, 0, 0, 0, 0, 0])
        };
        let address = match &destination {
            Destination::Address(address) => Some(*address),
            Destination::Name(name, _) => self.hosts.get(name).copied(),
        };
        self.asked.lock().unwrap().push(match destination {
            Destination::Address(address) => address.to_string(),
            Destination::Name(name, port) => format!("{name}:{port}"),
        });
        let Some(Ok(server)) = address.map(TcpStream::connect) else {
            return writer.write_all(failed);
        };
        writer.write_all(done)?;
        let mut up = &server;
        let mut down = &server;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _ = io::copy(&mut reader, &mut up);
                let _ = up.shutdown(Shutdown::Write);
            });
            let _ = io::copy(&mut down, &mut writer);
            let _ = client.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// Agrees on a method of version 5, and asks for the login; whether the client may go on.
    fn agree(&self, reader: &mut impl Read, writer: &mut impl Write) -> io::Result<bool> {
        let methods = counted(reader)?.into_bytes();
        let Some((user, password)) = &self.login else {
            writer.write_all(if methods.contains(&0) { &[5, 0] } else { &[5, 0xff] })?;
            return Ok(methods.contains(&0));
        };
        if !methods.contains(&2) {
            writer.write_all(&[5, 0xff])?;
            return Ok(false);
        }
        writer.write_all(&[5, 2])?;
        let [_version] = array(reader)?;
        let told = (counted(reader)?, counted(reader)?);
        let may = told == (user.clone(), password.clone());
        writer.write_all(&[1, u8::from(!may)])?;
        Ok(may)
    }
}

fn destination_5(reader: &mut impl Read) -> io::Result<Destination> {
    let [_version, command, _reserved, kind] = array(reader)?;
    assert_eq!(command, 1, "only to connect");
    let place = match kind {
        1 => Ok(array::<4>(reader)?.into()),
        4 => Ok(array::<16>(reader)?.into()),
        _ => Err(counted(reader)?),
    };
    let port = u16::from_be_bytes(array(reader)?);
    Ok(match place {
        Ok(address) => Destination::Address(SocketAddr::new(address, port)),
        Err(name) => Destination::Name(name, port),
    })
}

fn destination_4(reader: &mut impl BufRead) -> io::Result<Destination> {
    let [command, high, low, a, b, c, d] = array(reader)?;
    assert_eq!(command, 1, "only to connect");
    let (mut user, mut name) = (Vec::new(), Vec::new());
    reader.read_until(0, &mut user)?;
    let port = u16::from_be_bytes([high, low]);
    // 4a: an address that is none announces a name.
    if [a, b, c] == [0; 3] && d != 0 {
        reader.read_until(0, &mut name)?;
        name.pop();
        return Ok(Destination::Name(String::from_utf8_lossy(&name).into_owned(), port));
    }
    Ok(Destination::Address(SocketAddr::new([a, b, c, d].into(), port)))
}
