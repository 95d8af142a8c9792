//! Tools that fail, talk too much or are given up.

use super::*;

#[tokio::test]
async fn what_runs_too_long_or_talks_too_much_is_bounded() {
    let bench = Bench::new(&[("app.py", PY), ("requirements.txt", "dep")]);
    let talk = "#!/bin/sh\ncase $3 in --version) exit 0;; esac\nfor i in $(seq 1000); do printf \"\\033[31mline $i\\033[0m\\r\\n\"; done; exit 3";
    bench.program("python", talk);
    let error = bench.build().await.unwrap_err().to_string();
    assert!(
        error.lines().count() < 40 && error.contains("line 1000") && !error.contains('\u{1b}'),
        "{error}"
    );
    assert!(error.contains("ended with status 3"), "{error}");
}

#[tokio::test]
async fn a_build_that_is_given_up_has_ended_with_its_tools() {
    let bench = Bench::new(&[("app.py", PY), ("requirements.txt", "dep")]);
    let pid = bench.root.join("pid");
    let endless = format!(
        "#!/bin/sh\ncase $3 in --version) exit 0;; esac\nsleep 1000 & echo $$ > {}\necho began; wait",
        pid.display()
    );
    bench.program("python", &endless);
    let (give_up, given_up) = watch::channel(false);
    let giving_up = async {
        while !bench.phases.lock().unwrap().contains(&"  began".to_owned()) {
            tokio::task::yield_now().await;
        }
        give_up.send_replace(true);
    };
    let (built, ()) = tokio::join!(bench.build_until(&given_up), giving_up);
    assert!(matches!(built, Err(Error::GivenUp { .. })), "{built:?}");
    let tool = fs::read_to_string(pid).unwrap();
    assert!(!Path::new("/proc").join(tool.trim()).exists());
    bench.program("python", PYTHON);
    bench.build().await.unwrap();
}
