//! The text of a result file: one field per line, arrays of numbers without line breaks.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::result::RunResult;

/// The bytes of a result file. A grid's 40 000 values in lines of their own would double its size.
///
/// # Errors
/// As of `serde_json`; a result has no keys or values that it refuses.
pub fn result_json(result: &RunResult) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    result.serialize(&mut Serializer::with_formatter(
        &mut text,
        Layout::default(),
    ))?;
    text.push(b'\n');
    Ok(text)
}

/// Members of objects, and elements of arrays that are strings, arrays or objects, begin a line; other elements do not.
#[derive(Default)]
struct Layout {
    /// For every array and object that is open: did something in it begin a line?
    open: Vec<bool>,
    /// An element of an array comes next.
    element: bool,
}

impl Layout {
    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        self.open.iter().try_for_each(|_| writer.write_all(b"  "))
    }

    /// Begins a line inside the innermost container.
    fn inner_line<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if let Some(broken) = self.open.last_mut() {
            *broken = true;
        }
        self.line(writer)
    }

    /// Called before a string, an array or an object.
    fn long_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match std::mem::take(&mut self.element) {
            true => self.inner_line(writer),
            false => Ok(()),
        }
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        if self.open.pop() == Some(true) {
            self.line(writer)?;
        }
        writer.write_all(bracket)
    }
}

impl Formatter for Layout {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.long_value(writer)?;
        self.open.push(false);
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.element = true;
        writer.write_all(if first { b"" } else { b"," })
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.element = false;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.long_value(writer)?;
        self.open.push(false);
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b"," })?;
        self.inner_line(writer)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.long_value(writer)?;
        writer.write_all(b"\"")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn arrays_of_numbers_stay_on_their_line() {
        let value = json!({
            "a": [1, 2.5, null], "b": [[0.1, 1e300], []], "c": ["x,\"[", "y"], "d": [{"e": [-1]}, 7], "f": {}
        });
        let mut text = Vec::new();
        value
            .serialize(&mut Serializer::with_formatter(
                &mut text,
                Layout::default(),
            ))
            .unwrap();
        let text = String::from_utf8(text).unwrap();
        let expected = r#"{
  "a": [1,2.5,null],
  "b": [
    [0.1,1e+300],
    []
  ],
  "c": [
    "x,\"[",
    "y"
  ],
  "d": [
    {
      "e": [-1]
    },7
  ],
  "f": {}
}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
