//! Writing while what is written next is made.

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

/// Buffers that may wait to be written.
const QUEUE: usize = 2;

/// Takes bytes that another thread writes. They should come in large pieces: each is a buffer of its own.
#[derive(Debug)]
pub struct Behind {
    to_write: SyncSender<Vec<u8>>,
    written: Receiver<Vec<u8>>,
}

/// Hands `work` a writer whose bytes another thread writes to `output` meanwhile. When this returns, all of
/// them are written.
///
/// # Errors
/// That of `output`, else that of `work`.
pub fn write_behind<T, E: From<io::Error>>(
    mut output: impl Write + Send,
    work: impl FnOnce(Behind) -> Result<T, E>,
) -> Result<T, E> {
    let (to_write, buffers) = sync_channel::<Vec<u8>>(QUEUE);
    let (emptied, written) = channel();
    thread::scope(|scope| {
        let writing = scope.spawn(move || -> io::Result<()> {
            for buffer in buffers {
                output.write_all(&buffer)?;
                // The last ones are not taken back.
                let _ = emptied.send(buffer);
            }
            output.flush()
        });
        let worked = work(Behind { to_write, written });
        // The cause stands before what it made of the work.
        writing.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        worked
    })
}

impl Write for Behind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = self.written.try_recv().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        // Why it ended, the end of the work tells.
        self.to_write.send(buffer).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and no more.
    struct Full {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for &mut Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.taken.extend_from_slice(&bytes[..count]);
            self.room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn write_all(mut to: impl Write) -> io::Result<()> {
        (0..100_u8).try_for_each(|number| to.write_all(&[number; 77]))
    }

    #[test]
    fn all_is_written_or_the_error_of_the_output_is_told() {
        let expected: Vec<u8> = (0..100).flat_map(|number| [number; 77]).collect();
        for room in [7700, 7699, 100, 0] {
            let mut full = Full { taken: Vec::new(), room };
            let ended = write_behind(&mut full, write_all);
            assert_eq!(ended.map_err(|error| error.kind()).is_ok(), room == 7700);
            assert_eq!(full.taken, expected[..room]);
        }
        let mut full = Full { taken: Vec::new(), room: 10 };
        let ended = write_behind(&mut full, write_all);
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::StorageFull);
        let ended = write_behind(io::sink(), |_| Err::<(), _>(io::Error::from(io::ErrorKind::NotFound)));
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
