//! `dayfly logs`: a function's log, so far or as it is written.

use std::time::Duration;

use anyhow::anyhow;
use api::wire::LogRecord;

use crate::args::Logs;
use crate::command::{client, end_of, refused};
use crate::exit::{Code, Failure, OrExit as _};
use crate::terminal::{self, Paint, Style};

pub(crate) async fn run(options: &Logs) -> Result<(), Failure> {
    let since = options.since.as_deref().map(parse_while).transpose()?;
    let since_ms = since.map(|ago| node::now_ms().saturating_sub(millis(ago)));
    let client = client(&options.endpoint.url())?;
    let mut stream = client
        .logs(&options.name, since_ms, options.follow)
        .await
        .map_err(refused)?;
    let mut stop = std::pin::pin!(node::interrupted());
    loop {
        let record = tokio::select! {
            () = &mut stop => return Ok(()),
            record = stream.next() => record.map_err(refused)?,
        };
        let Some(record) = record else { return Ok(()) };
        if options.json {
            let text = serde_json::to_string(&record).or_exit(Code::Platform)?;
            end_of(terminal::data(&text))?;
        } else {
            show(&record)?;
        }
    }
}

fn show(record: &LogRecord) -> Result<(), Failure> {
    let paint = Paint::stdout();
    for line in record.text.lines() {
        let line = paint.harmless(line);
        let line = if record.platform {
            paint.paint(Style::Dim, line).into()
        } else {
            line
        };
        end_of(terminal::data(&line))?;
    }
    Ok(())
}

/// `90s`, `15m`, `2h`, `1d`.
fn parse_while(text: &str) -> Result<Duration, Failure> {
    let wrong = || anyhow!("'{text}' is no while: write it as 90s, 15m, 2h or 1d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(Failure::new(Code::Usage, wrong())),
    };
    let count: u64 = text[..text.len() - 1]
        .parse()
        .map_err(|_| Failure::new(Code::Usage, wrong()))?;
    Ok(Duration::from_secs(count.saturating_mul(unit)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiles_have_a_unit() {
        assert_eq!(parse_while("15m").ok(), Some(Duration::from_secs(900)));
        assert_eq!(parse_while("1d").ok(), Some(Duration::from_secs(86_400)));
        for wrong in ["", "15", "m", "-1s", "1w"] {
            assert!(parse_while(wrong).is_err(), "{wrong}");
        }
    }
}
