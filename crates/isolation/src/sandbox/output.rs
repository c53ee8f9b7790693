//! The lines that programs print, made fit for a log and a screen.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

/// How much of a line is kept.
const MAX_LINE_BYTES: usize = 4096;

/// Reads `stream` to its end and gives each line to `line`, made presentable. Blocks for as long as
/// somebody writes.
pub fn read_lines(stream: impl Read, mut line: impl FnMut(String)) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut kept = Vec::new();
    let mut begun = false;
    loop {
        let available = match stream.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() {
            if begun {
                line(presentable(&kept));
            }
            return Ok(());
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        let piece = &available[..end.unwrap_or(available.len())];
        // Room for the mark of a cut-off line is the one byte more.
        kept.extend_from_slice(&piece[..piece.len().min((MAX_LINE_BYTES + 1).saturating_sub(kept.len()))]);
        begun = true;
        let consumed = piece.len() + usize::from(end.is_some());
        stream.consume(consumed);
        if end.is_some() {
            line(presentable(&kept));
            kept.clear();
            begun = false;
        }
    }
}

/// Text without bytes that would do something to a terminal: of what carriage returns overwrite
/// only the last is kept.
fn presentable(line: &[u8]) -> String {
    let cut = line.len() > MAX_LINE_BYTES;
    // Blanks at the end first: after the carriage return of a line that ends in CR LF nothing would
    // be left.
    let line = line[..line.len().min(MAX_LINE_BYTES)].trim_ascii_end();
    let line = line.rsplit(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut text: String = String::from_utf8_lossy(line)
        .chars()
        .map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if cut {
        text.push_str(" [...]");
    }
    text
}

/// The last lines of an output, for the message about a failure.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    lines: VecDeque<String>,
}

impl Tail {
    const LINES: usize = 20;

    /// Adds a line.
    pub fn push(&mut self, line: &str) {
        if self.lines.len() == Self::LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    /// Forgets all lines.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// The lines, oldest first.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        read_lines(bytes, |line| lines.push(line)).unwrap();
        lines
    }

    #[test]
    fn makes_lines_presentable() {
        assert_eq!(lines(b"a\n\nb"), ["a", "", "b"]);
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(b"10%\r50%\r100%\r\n"), ["100%"]);
        assert_eq!(lines(b"\x1b[31mred\xff\0\tx \n"), ["\u{fffd}[31mred\u{fffd}\u{fffd}\tx"]);
    }

    #[test]
    fn bounds_lines() {
        let long = vec![b'x'; 1 << 20];
        let got = lines(&[&long[..], b"\nshort\n", &long[..MAX_LINE_BYTES], b"\n"].concat());
        assert_eq!(got[0], format!("{} [...]", "x".repeat(MAX_LINE_BYTES)));
        assert_eq!(got[1], "short");
        assert_eq!(got[2], "x".repeat(MAX_LINE_BYTES));
    }

    #[test]
    fn keeps_the_last_lines() {
        let mut tail = Tail::default();
        (0..50).for_each(|n| tail.push(&n.to_string()));
        let lines = tail.into_lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "30", "49"));
    }
}
