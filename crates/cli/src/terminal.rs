//! How things look on a terminal: colours where one is there to see them, none elsewhere.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::exit::Failure;

/// Styles, in the order of their ANSI codes' use here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Blue => "34",
            Self::Magenta => "35",
            Self::Cyan => "36",
        }
    }
}

/// Whether what is written to one stream may be coloured (https://no-color.org is honoured).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    coloured: bool,
}

impl Paint {
    pub(crate) fn stdout() -> Self {
        Self {
            coloured: allowed(std::io::stdout().is_terminal()),
        }
    }

    pub(crate) fn stderr() -> Self {
        Self {
            coloured: allowed(std::io::stderr().is_terminal()),
        }
    }

    pub(crate) fn paint(self, style: Style, text: impl Display) -> String {
        if self.coloured {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_string()
        }
    }
}

fn allowed(terminal: bool) -> bool {
    let set =
        |name| std::env::var_os(name).is_some_and(|value: std::ffi::OsString| !value.is_empty());
    !set("NO_COLOR") && (terminal || set("CLICOLOR_FORCE"))
}

/// A duration as a person reads it: three figures at most.
pub(crate) fn duration(value: Duration) -> String {
    let micros = value.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..100_000 => format!("{:.1} ms", value.as_secs_f64() * 1e3),
        100_000..1_000_000 => format!("{} ms", value.as_millis()),
        _ => format!("{:.1} s", value.as_secs_f64()),
    }
}

/// A function's own text, made safe for a terminal: no control character but tab and line end
/// gets through, so that a log line cannot move the cursor or forge another line.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Tells of a failure on stderr.
pub(crate) fn failure(failure: &Failure) {
    let paint = Paint::stderr();
    note(&format!("{} {failure}", paint.paint(Style::Red, "error:")));
}

/// A line on stderr; a closed stderr is nobody's loss.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line of data on stdout. An error (a closed pipe) ends the command quietly.
pub(crate) fn data(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(Duration::from_micros(950)), "950 µs");
        assert_eq!(duration(Duration::from_micros(2_340)), "2.3 ms");
        assert_eq!(duration(Duration::from_millis(340)), "340 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
    }

    #[test]
    fn logs_cannot_drive_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\tc"), "a\u{fffd}[2Jb\tc");
    }
}
