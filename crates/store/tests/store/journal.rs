//! The journal: text in, text out, over restarts.

use std::sync::Arc;

use store::{Journal, SystemClock};

#[tokio::test]
async fn the_newest_records_come_back_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Journal::open(folder.path(), Arc::new(SystemClock::new())).unwrap();
    let journal = open();
    assert!(journal.tail(10).await.unwrap().is_empty());
    for n in 0..100 {
        journal.append(format!("{{\"n\":{n}}}").into());
    }
    assert_eq!(journal.tail(2).await.unwrap(), ["{\"n\":98}", "{\"n\":99}"]);
    drop(journal);
    let journal = open();
    journal.append("{\"n\":100}".into());
    assert_eq!(
        journal.tail(2).await.unwrap(),
        ["{\"n\":99}", "{\"n\":100}"]
    );
    assert_eq!(journal.tail(1000).await.unwrap().len(), 101);
}
