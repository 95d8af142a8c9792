//! Logs: in order, bounded, read while they are written, and never waited for.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::logs::{Limits, Line, NotPut};
use store::{Error, LogWriter, Logs, SystemClock};
use tokio::sync::broadcast::error::RecvError;

const SMALL: Limits = Limits {
    segment_bytes: 4096,
    stream_bytes: 4 * 4096,
};

fn open(folder: &Path) -> Logs {
    Logs::open(folder, Arc::new(SystemClock::new())).unwrap()
}

fn open_small(folder: &Path) -> Logs {
    Logs::open_with(folder, Arc::new(SystemClock::new()), SMALL).unwrap()
}

fn line(n: u64) -> Line {
    let invocation = (n % 2 == 1).then(|| format!("invocation-{n}").into());
    Line {
        at_ms: 1000 + n,
        stamp_ms: None,
        platform: n.is_multiple_of(3),
        invocation,
        source: None,
        text: format!("line {n}"),
    }
}

fn append(writer: &LogWriter, lines: std::ops::Range<u64>) {
    writer.append(lines.map(line));
}

async fn lines(logs: &Logs, stream: &str) -> Vec<Line> {
    let entries = logs.read(stream, 0, usize::MAX, None).await.unwrap();
    entries
        .into_iter()
        .map(|entry| (*entry.line).clone())
        .collect()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .flat_map(|stream| fs::read_dir(stream.unwrap().path()).into_iter().flatten())
        .map(|segment| segment.unwrap().path())
        .collect();
    segments.sort();
    segments
}

#[tokio::test]
async fn what_is_appended_can_be_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    let (one, other) = (logs.writer("a/b:$LATEST"), logs.writer("a/c"));
    append(&one, 0..3);
    append(&other, 7..8);
    append(&one.clone(), 3..5);
    assert_eq!(
        lines(&logs, "a/b:$LATEST").await,
        (0..5).map(line).collect::<Vec<_>>()
    );
    assert_eq!(lines(&logs, "a/c").await, [line(7)]);
    assert_eq!(lines(&logs, "nothing").await, []);
}

#[tokio::test]
async fn reading_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_small(folder.path());
    let writer = logs.writer("s");
    append(&writer, 0..200);
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let entries = logs.read("s", 0, 7, after).await.unwrap();
        let Some(last) = entries.last() else { break };
        after = Some(last.position);
        seen.extend(entries.iter().map(|entry| entry.line.at_ms));
    }
    assert_eq!(seen, (1000..1200).collect::<Vec<_>>());
    assert!(segments(folder.path()).len() > 1);
    append(&writer, 200..201);
    let entries = logs.read("s", 0, 7, after).await.unwrap();
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn reading_begins_at_a_time_and_tails_at_a_count() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_small(folder.path());
    append(&logs.writer("s"), 0..200);
    let since = logs.read("s", 1190, 5, None).await.unwrap();
    assert_eq!(
        since
            .iter()
            .map(|entry| entry.line.at_ms)
            .collect::<Vec<_>>(),
        [1190, 1191, 1192, 1193, 1194]
    );
    for count in [0, 1, 150, 500] {
        let tail = logs.tail("s", count).await.unwrap();
        let first = 200 - count.min(200) as u64;
        assert_eq!(
            tail.iter()
                .map(|entry| (*entry.line).clone())
                .collect::<Vec<_>>(),
            (first..200).map(line).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn old_lines_make_room_for_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_small(folder.path());
    let writer = logs.writer("s");
    for n in 0..50 {
        append(&writer, n * 40..(n + 1) * 40);
        logs.tail("s", 1).await.unwrap();
    }
    let bytes: u64 = segments(folder.path())
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!(bytes <= SMALL.stream_bytes + 2048, "{bytes} bytes");
    let kept = lines(&logs, "s").await;
    assert!(kept.len() > 100);
    assert_eq!(
        kept,
        (2000 - kept.len() as u64..2000)
            .map(line)
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_stream_may_be_kept_for_longer_than_others() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_small(folder.path());
    let writers = [
        logs.writer("s"),
        logs.writer_keeping("longer", 10 * SMALL.stream_bytes),
    ];
    for n in 0..50 {
        writers
            .iter()
            .for_each(|writer| append(writer, n * 40..(n + 1) * 40));
        logs.tail("s", 1).await.unwrap();
    }
    assert!(lines(&logs, "s").await.len() < 1000);
    assert_eq!(lines(&logs, "longer").await.len(), 2000);
}

#[tokio::test]
async fn a_stream_goes_on_after_a_restart_and_a_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    append(&open(folder.path()).writer("s"), 0..10);
    let logs = open(folder.path());
    assert_eq!(lines(&logs, "s").await.len(), 10);
    drop(logs);
    let [segment] = &segments(folder.path())[..] else {
        panic!("one segment")
    };
    let whole = fs::read(segment).unwrap();
    for torn in [whole.len() - 1, whole.len() - 20] {
        fs::write(segment, &whole[..torn]).unwrap();
        let logs = open(folder.path());
        assert_eq!(
            lines(&logs, "s").await,
            (0..9).map(line).collect::<Vec<_>>()
        );
        append(&logs.writer("s"), 100..102);
        let expected: Vec<_> = (0..9).chain(100..102).map(line).collect();
        assert_eq!(lines(&logs, "s").await, expected);
    }
}

#[tokio::test]
async fn followers_see_what_comes_and_how_much_they_missed() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    let writer = logs.writer("s");
    append(&writer, 0..3);
    logs.tail("s", 1).await.unwrap();
    let mut follower = logs.follow("s");
    append(&writer, 3..5);
    for n in 3..5 {
        assert_eq!(*follower.recv().await.unwrap().line, line(n));
    }
    append(&writer, 0..10_000);
    logs.tail("s", 1).await.unwrap();
    assert!(matches!(follower.recv().await, Err(RecvError::Lagged(_))));
    let next = follower.recv().await.unwrap();
    let same = logs
        .read("s", next.line.at_ms, usize::MAX, None)
        .await
        .unwrap();
    assert!(same.contains(&next));
}

#[tokio::test]
async fn a_flood_is_dropped_counted_and_silences_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    let (noisy, quiet) = (logs.writer("noisy"), logs.writer("quiet"));
    let large = |n| Line {
        text: "x".repeat(200_000),
        ..line(n)
    };
    let flood = 300;
    noisy.append((0..flood).map(large));
    append(&quiet, 0..1);
    assert_eq!(lines(&logs, "quiet").await, [line(0)]);
    let kept = lines(&logs, "noisy").await;
    let notice = kept.last().unwrap();
    assert!(notice.platform);
    let dropped: u64 = notice.text.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(dropped + kept.len() as u64 - 1, flood);
    assert!(dropped > 0 && kept.len() > 10);
    append(&noisy, 1..2);
    assert_eq!(lines(&logs, "noisy").await.last(), Some(&line(1)));
}

#[tokio::test]
async fn what_could_not_be_written_is_told_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    append(&logs.writer("s"), 0..1);
    logs.flush().await;
    drop(logs);
    let stream = fs::read_dir(folder.path()).unwrap().flatten();
    let stream = stream.map(|entry| entry.path()).find(|path| path.is_dir());
    let stream = stream.unwrap();
    fs::remove_dir_all(&stream).unwrap();
    // In the way of the stream's folder.
    fs::write(&stream, "").unwrap();
    let logs = open(folder.path());
    let writer = logs.writer("s");
    append(&writer, 1..3);
    logs.flush().await;
    append(&writer, 3..4);
    logs.flush().await;
    fs::remove_file(&stream).unwrap();
    append(&writer, 4..5);
    let kept = lines(&logs, "s").await;
    assert_eq!(kept[0], line(4));
    let notice = kept[1].text.as_str();
    let told = "3 log lines were lost: they could not be written: ";
    assert!(
        notice.starts_with(told) && !notice.contains("faster"),
        "{notice}"
    );
    append(&writer, 5..6);
    assert_eq!(lines(&logs, "s").await[2..], [line(5)]);
}

#[tokio::test]
async fn thousands_of_streams_share_a_few_open_files() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    let writers: Vec<_> = (0..1500)
        .map(|n| logs.writer(&format!("function-{n}")))
        .collect();
    for round in 0..2 {
        writers
            .iter()
            .for_each(|writer| append(writer, round..round + 1));
        logs.tail("function-0", 1).await.unwrap();
    }
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let inside = open
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .filter(|path| path.starts_with(folder.path()))
        .count();
    assert!(inside < 200, "{inside} files are open");
    for n in [0, 700, 1499] {
        assert_eq!(
            lines(&logs, &format!("function-{n}")).await,
            [line(0), line(1)]
        );
    }
}

#[tokio::test]
async fn streams_that_nobody_wants_are_gone_and_can_begin_again() {
    let folder = tempfile::tempdir().unwrap();
    append(&open(folder.path()).writer("a/earlier"), 0..3);
    let logs = open(folder.path());
    let keep = HashSet::from(["a/kept".to_owned()]);
    let (old, kept) = (logs.writer("a/s"), logs.writer("a/kept"));
    append(&old, 0..3);
    append(&kept, 0..3);
    logs.tail("a/s", 1).await.unwrap();
    let mut follower = logs.follow("a/s");
    append(&old, 3..4);
    assert_eq!(logs.remove_unreferenced(&keep).await.unwrap(), 2);
    assert_eq!(segments(folder.path()).len(), 1);
    assert_eq!(logs.remove_unreferenced(&keep).await.unwrap(), 0);

    // One that an instance on its way out still holds stays as it is.
    append(&old, 4..5);
    assert_eq!(lines(&logs, "a/s").await, []);
    let new = logs.writer("a/s");
    append(&new, 5..6);
    append(&old, 6..7);
    assert_eq!(lines(&logs, "a/s").await, [line(5)]);
    assert_eq!(lines(&logs, "a/kept").await.len(), 3);
    drop(old);
    while follower.recv().await.is_ok() {}
    assert!(matches!(follower.recv().await, Err(RecvError::Closed)));
}

#[tokio::test]
async fn names_cannot_leave_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(&folder.path().join("logs"));
    let long = "x".repeat(5000);
    for name in [
        "",
        ".",
        "..",
        "../out",
        "/etc/x",
        "a\0b",
        "ü",
        &long,
        &format!("{long}y"),
    ] {
        append(&logs.writer(name), 0..1);
        assert_eq!(lines(&logs, name).await, [line(0)], "{name}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(
        Logs::open(&folder.path().join("logs"), Arc::new(SystemClock::new())),
        Err(Error::InUse { .. })
    ));
}

#[tokio::test]
async fn a_scan_passes_what_a_reading_gives() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_small(folder.path());
    append(&logs.writer("s"), 0..200);
    logs.flush().await;
    let mut seen = Vec::new();
    let reader = logs.reader("s");
    reader
        .scan(0, &mut |line| {
            seen.push((line.position, line.text.into_owned()));
            ControlFlow::Continue(())
        })
        .unwrap();
    let entries = logs.read("s", 0, usize::MAX, None).await.unwrap();
    let read = entries.iter().map(|it| (it.position, it.line.text.clone()));
    assert_eq!(seen, read.collect::<Vec<_>>());
    let mut count = 0;
    reader
        .scan(0, &mut |_| {
            count += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(count, 1);
    let mut late = Vec::new();
    reader
        .scan(1190, &mut |line| {
            late.push(line.at_ms);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(late, (1190..1200).collect::<Vec<_>>());
    assert_eq!(logs.reader("nothing").end().unwrap(), 0);
    let last = entries.last().unwrap();
    assert!(reader.end().unwrap() > last.position && reader.bytes().unwrap() > 0);
}

#[tokio::test]
async fn old_lines_go_and_positions_stay() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_small(folder.path());
    let writer = logs.writer("s");
    append(&writer, 0..200);
    logs.expire("s", 1150).await.unwrap();
    let left = lines(&logs, "s").await;
    assert!(left.len() < 200 && left.ends_with(&[line(198), line(199)]));
    assert!(
        left[0].at_ms <= 1150,
        "no line that is young enough is gone"
    );
    let end = logs.reader("s").end().unwrap();
    logs.expire("s", 5000).await.unwrap();
    assert_eq!(lines(&logs, "s").await, []);
    drop(logs);
    let logs = open_small(folder.path());
    assert_eq!(logs.reader("s").end().unwrap(), end);
    append(&logs.writer("s"), 7..8);
    let entries = logs.read("s", 0, 9, None).await.unwrap();
    assert_eq!((entries[0].position, entries.len()), (end, 1));
    logs.expire("nothing", 5000).await.unwrap();
    assert!(!folder.path().join("nothing").exists());
}

#[tokio::test]
async fn what_is_put_is_there_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open(folder.path());
    let writer = logs.writer("s");
    writer.put((0..3).map(line).collect()).await.unwrap();
    assert_eq!(lines(&logs, "s").await.len(), 3);
    let huge = |n| Line {
        text: "x".repeat(1 << 20),
        ..line(n)
    };
    let refused = writer.put((0..9).map(huge).collect()).await;
    assert_eq!(refused, Err(NotPut::NoRoom));
    logs.remove("s").await.unwrap();
    assert_eq!(
        writer.put(vec![line(0)]).await,
        Err(NotPut::NoRoom),
        "the stream is gone"
    );
    logs.writer("s").put(vec![line(0)]).await.unwrap();
    assert_eq!(lines(&logs, "s").await, [line(0)]);
}
