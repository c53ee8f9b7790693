//! What is read, piece by piece.

use std::io::{self, Read};

/// Reads `from` to its end, and hands each piece that comes into `buffer` to `each`. What fails in reading is made an
/// error by `failed`.
///
/// # Errors
/// That of `failed` or `each`.
pub fn for_each_piece<E>(
    from: &mut impl Read,
    buffer: &mut [u8],
    failed: impl FnOnce(io::Error) -> E,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Gives one of these after another, and then its end.
    struct Answers(VecDeque<Result<&'static str, io::ErrorKind>>);

    impl Read for Answers {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let text = self.0.pop_front().unwrap_or(Ok(""))?;
            buffer[..text.len()].copy_from_slice(text.as_bytes());
            Ok(text.len())
        }
    }

    fn read(answers: &[Result<&'static str, io::ErrorKind>], refused: &str) -> Result<String, String> {
        let mut text = String::new();
        let each = |piece: &[u8]| {
            text.push_str(str::from_utf8(piece).unwrap());
            if piece == refused.as_bytes() { Err("refused".to_owned()) } else { Ok(()) }
        };
        let mut from = Answers(answers.iter().copied().collect());
        for_each_piece(&mut from, &mut [0; 8], |error| error.to_string(), each)?;
        Ok(text)
    }

    #[test]
    fn all_pieces_come_or_the_error_does() {
        let interrupted = Err(io::ErrorKind::Interrupted);
        assert_eq!(read(&[Ok("ab"), interrupted, Ok("c"), Ok("")], "").unwrap(), "abc");
        assert_eq!(read(&[Ok("ab"), Ok("c")], "ab").unwrap_err(), "refused");
        assert!(read(&[Ok("ab"), Err(io::ErrorKind::NotFound)], "").unwrap_err().contains("not found"));
    }
}
