//! What is told of a project whose files change, through the kernel itself.

use super::*;

const CODE: &str = "def handler(event, context): pass\n";

/// A project of one function, and a watch on it.
struct World {
    folder: tempfile::TempDir,
    root: PathBuf,
    watch: Watch,
    clock: store::SystemClock,
}

impl World {
    async fn of(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for file in files {
            write(&root.join(file));
        }
        let watch = Watch::start(project(&root), false).await.unwrap();
        Self {
            folder,
            root,
            watch,
            clock: store::SystemClock::new(),
        }
    }

    fn write(&self, path: &str) {
        write(&self.root.join(path));
    }

    /// Waits until a change of this path is told, whatever else is.
    async fn told(&self, path: &str) {
        let path = self.root.join(path);
        loop {
            match self.watch.next(&self.clock).await.unwrap().changed {
                Changed::Anything => return,
                Changed::Paths(paths) if paths.contains(&path) => return,
                Changed::Paths(_) => {}
            }
        }
    }

    fn watched(&self) -> BTreeSet<PathBuf> {
        let folders = self.watch.folders.lock();
        let watched = folders.watched().iter();
        watched
            .map(|path| path.strip_prefix(&self.root).unwrap().to_owned())
            .collect()
    }
}

fn write(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, CODE).unwrap();
}

fn project(root: &Path) -> stacks::Watch {
    let options = stacks::Options::new(
        "000000000000".parse().unwrap(),
        "us-east-1".parse().unwrap(),
    );
    stacks::read(root, &options).unwrap().watch
}

fn paths(names: &[&str]) -> BTreeSet<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[tokio::test]
async fn only_what_the_project_is_made_of_is_watched() {
    let world = World::of(&[
        "f/app.py",
        "f/lib/deep/x.py",
        "f/node_modules/x/index.js",
        "f/.git/HEAD",
        ".dayfly/logs/0",
    ])
    .await;
    assert_eq!(world.watched(), paths(&["", "f", "f/lib", "f/lib/deep"]));
    for n in 0..100 {
        world.write(&format!("f/node_modules/{n}.js"));
    }
    world.write("f/lib/deep/x.py");
    let changed = world.watch.next(&world.clock).await.unwrap().changed;
    assert_eq!(
        changed,
        Changed::Paths([world.root.join("f/lib/deep/x.py")].into())
    );
}

#[tokio::test]
async fn a_save_by_rename_is_told() {
    let world = World::of(&["f/app.py"]).await;
    world.write("f/.app.py.swp");
    std::fs::rename(
        world.root.join("f/.app.py.swp"),
        world.root.join("f/app.py"),
    )
    .unwrap();
    world.told("f/app.py").await;
}

#[tokio::test]
async fn files_of_a_new_folder_are_told_and_then_watched() {
    let world = World::of(&["f/app.py"]).await;
    world.write("f/new/deep/x.py");
    world.told("f/new/deep/x.py").await;
    world.write("f/new/deep/y.py");
    world.told("f/new/deep/y.py").await;
}

#[tokio::test]
async fn a_folder_that_was_moved_here_or_made_again_is_watched() {
    let world = World::of(&["f/app.py", "f/lib/x.py", "elsewhere/sub/x.py"]).await;
    std::fs::remove_dir_all(world.root.join("f/lib")).unwrap();
    world.told("f/lib/x.py").await;
    std::fs::rename(world.root.join("elsewhere"), world.root.join("f/lib")).unwrap();
    world.told("f/lib/sub/x.py").await;
    world.write("f/lib/sub/x.py");
    world.told("f/lib/sub/x.py").await;
}

#[tokio::test]
async fn a_project_that_has_grown_is_followed() {
    let world = World::of(&["f/app.py"]).await;
    world.write("g/app.py");
    world.told("g/app.py").await;
    world.watch.follow(project(&world.root)).await.unwrap();
    assert_eq!(world.watched(), paths(&["", "f", "g"]));
    world.write("g/x.py");
    world.told("g/x.py").await;
    std::fs::remove_dir_all(world.root.join("f")).unwrap();
    world.told("f/app.py").await;
    world.watch.follow(project(&world.root)).await.unwrap();
    assert_eq!(world.watched(), paths(&["", "g"]));
}

#[tokio::test]
async fn more_changes_than_can_be_kept_are_told_as_anything() {
    let world = World::of(&["f/app.py"]).await;
    for n in 0..PENDING_MAX + 10 {
        world.write(&format!("f/{n}.py"));
    }
    world.told("anything").await;
    assert!(world.folder.path().is_dir());
}

#[tokio::test]
async fn what_the_kernel_could_not_tell_is_told_as_anything() {
    let world = World::of(&["f/app.py"]).await;
    let overflow = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    world.watch.heard.hear(overflow);
    let changed = world.watch.next(&world.clock).await.unwrap().changed;
    assert_eq!(changed, Changed::Anything);
}

#[tokio::test]
async fn changes_that_do_not_matter_put_off_nothing() {
    let world = World::of(&["f/app.py", ".dayfly/logs/0"]).await;
    let noise = notify::Event::new(EventKind::Modify(ModifyKind::Any))
        .add_path(world.root.join(".dayfly/logs/0"));
    world.watch.heard.hear(noise);
    let mut changed = Changed::none();
    world.watch.take(&mut changed).await.unwrap();
    assert_eq!(changed, Changed::none());
    let nothing = futures_now(world.watch.heard.news.notified());
    assert!(!nothing, "nobody is woken");
}

/// Whether a future is ready at once.
fn futures_now(future: impl Future<Output = ()>) -> bool {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    future.as_mut().poll(&mut context).is_ready()
}
