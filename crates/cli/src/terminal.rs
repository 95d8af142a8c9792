//! How things look on a terminal: colours where one is there to see them, none elsewhere.

use std::borrow::Cow;
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

    pub(crate) fn is_coloured(self) -> bool {
        self.coloured
    }

    /// A function's own text, made safe for a terminal: of what controls one, only tab, line end
    /// and, where colours are shown, colours get through, so that a log line cannot move the
    /// cursor or forge another line.
    pub(crate) fn harmless(self, text: &str) -> Cow<'_, str> {
        // All that is harmless in every byte goes as it is.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Cow::Borrowed(text);
        }
        let mut safe = String::with_capacity(text.len());
        let mut painted = false;
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(style) = style_of(rest) {
                if self.coloured {
                    safe.push_str(style);
                    painted = true;
                }
                rest = rest.get(style.len()..).unwrap_or_default();
                continue;
            }
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            let shown = !c.is_control() || matches!(c, '\t' | '\n');
            safe.push(if shown { c } else { '\u{fffd}' });
        }
        if painted {
            safe.push_str("\x1b[0m");
        }
        Cow::Owned(safe)
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

/// The sequence at the text's start that sets colour or weight and does nothing else.
fn style_of(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !matches!(c, '0'..='9' | ';' | ':'))?;
    parameters.get(end..)?.strip_prefix('m')?;
    text.get(..2 + end + 1)
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

/// Appends what stands between the quotes of a JSON string.
pub(crate) fn push_escaped(to: &mut String, text: &str) {
    let mut rest = text;
    let escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    while let Some(at) = rest.bytes().position(escaped) {
        let (plain, after) = rest.split_at(at);
        to.push_str(plain);
        // One byte, as no longer character begins with such.
        let (special, after) = after.split_at(1);
        match special {
            "\t" => to.push_str("\\t"),
            "\n" => to.push_str("\\n"),
            "\r" => to.push_str("\\r"),
            "\"" => to.push_str("\\\""),
            "\\" => to.push_str("\\\\"),
            other => other
                .bytes()
                .for_each(|byte| to.push_str(&format!("\\u{byte:04x}"))),
        }
        rest = after;
    }
    to.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_is_the_text() {
        let all: String = (0..0x100_u32).filter_map(char::from_u32).collect();
        for text in ["", "plain", "a\tb\n", "\u{e9}\"\\", &all] {
            let mut json = "\"".to_owned();
            push_escaped(&mut json, text);
            json.push('"');
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(Duration::from_micros(950)), "950 µs");
        assert_eq!(duration(Duration::from_micros(2_340)), "2.3 ms");
        assert_eq!(duration(Duration::from_millis(340)), "340 ms");
        assert_eq!(duration(Duration::from_millis(12_340)), "12.3 s");
    }

    #[test]
    fn logs_cannot_drive_the_terminal() {
        let (plain, coloured) = (Paint { coloured: false }, Paint { coloured: true });
        for paint in [plain, coloured] {
            assert_eq!(paint.harmless("a\x1b[2Jb\tc"), "a\u{fffd}[2Jb\tc");
            assert_eq!(paint.harmless("\x1b[31"), "\u{fffd}[31");
        }
        assert_eq!(plain.harmless("\x1b[1;31mred\x1b[0m"), "red");
        assert_eq!(coloured.harmless("\x1b[1;31mred"), "\x1b[1;31mred\x1b[0m");
    }
}
