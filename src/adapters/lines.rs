//! Cuts a stream of bytes into lines.

/// The longest line that is kept in memory; a longer one is handed on in pieces.
pub(crate) const LONGEST_LINE: usize = 64 * 1024;

/// Collects bytes until a line is complete.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// Takes the next bytes and hands on the lines that they complete, without their ends. Bytes that are not UTF-8
    /// become U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(piece);
            if self.0.last() == Some(&b'\n') {
                self.0.pop();
                if self.0.last() == Some(&b'\r') {
                    self.0.pop();
                }
                line(&String::from_utf8_lossy(&self.0));
                self.0.clear();
            }
            while self.0.len() > LONGEST_LINE {
                let cut = boundary(&self.0, LONGEST_LINE);
                line(&String::from_utf8_lossy(&self.0[..cut]));
                self.0.drain(..cut);
            }
        }
    }

    /// Hands on what is left of a line that never ended.
    pub(crate) fn finish(self, mut line: impl FnMut(&str)) {
        if !self.0.is_empty() {
            line(&String::from_utf8_lossy(&self.0));
        }
    }
}

/// Returns a place at or shortly before `at` that does not cut a character of UTF-8.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let continues = |index: usize| bytes.get(index).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    (at.saturating_sub(3)..=at).rev().find(|index| !continues(*index)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| out.push(line.to_owned()));
        }
        lines.finish(|line| out.push(line.to_owned()));
        out
    }

    #[test]
    fn lines_are_found_wherever_the_reads_were_cut() {
        assert_eq!(lines(&[b"one\ntw", b"o\r", b"\n\nlast"]), ["one", "two", "", "last"]);
        assert_eq!(lines(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }

    #[test]
    fn a_line_without_end_is_handed_on_in_pieces_that_keep_characters_whole() {
        let long = "é".repeat(LONGEST_LINE);
        let pieces = lines(&[b"x", long.as_bytes()]);
        assert!(pieces.len() > 1);
        assert!(pieces.iter().all(|piece| piece.len() <= LONGEST_LINE && !piece.contains('\u{fffd}')));
        assert_eq!(pieces.concat(), format!("x{long}"));
    }
}
