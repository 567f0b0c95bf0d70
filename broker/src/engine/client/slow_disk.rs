//! What waits for a disk that takes long, and what does not: checked on a disk that holds its work back.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use protocol::{ACK, Attributes};

use super::subscribe::tests::subscribe;
use super::tests::{Scene, message, retained};
use super::{Answers, Client, Message};
use crate::engine::history::History;
use crate::engine::history::rules::{KeepLimits, KeepRule, KeepRules};
use crate::engine::history::topics::KeptTopics;
use crate::engine::outbox::receipt::Receipt;
use crate::engine::outbox::tests::{TestSink, outbox};
use crate::engine::session::clients::ClientRecord;
use crate::storage::disk::gated::{DiskWork, GatedDisk};
use crate::storage::record::Record;
use crate::storage::store::Store;
use crate::storage::survey::Extent;

/// After that it is a failure that something waits.
const PATIENCE: Duration = Duration::from_secs(10);

const SEGMENT_BYTES: u64 = 64 * 1024;

/// An engine with a store, in which topics below `kept/` keep their messages.
pub(crate) fn scene_on(disk: &GatedDisk) -> (Scene, Arc<Store>) {
    let scene = Scene::new(10);
    let disk = Arc::new(disk.clone());
    let opened = Store::open_extent(disk, None, SEGMENT_BYTES, Extent::All, &mut |_: &Record<
        '_,
    >| {});
    let (store, _) = opened.expect("it is empty");
    let store = Arc::new(store);
    let rule = KeepRule {
        filter: "kept/#".into(),
        keeps: Some(KeepLimits::default()),
    };
    let topics = KeptTopics::new(KeepRules::new(vec![rule]), 100);
    let history = History::new(store.clone(), topics);
    scene.engine.router.set_history(Arc::new(history));
    assert!(scene.engine.store.set(store.clone()).is_ok());
    (scene, store)
}

fn record(id: u64) -> (Arc<ClientRecord>, TestSink) {
    let (outbox, sink) = outbox(id, 10_000, usize::MAX);
    let record = ClientRecord::new(outbox, ([127, 0, 0, 1], 1).into());
    (Arc::new(record), sink)
}

/// The disk is written to under no lock that others need.
#[test]
fn nothing_but_what_is_kept_waits_for_a_write() {
    // With the number of writes before the one that is held back.
    let waiting: [(fn() -> Message<'static>, usize); 4] = [
        (|| retained("a", "1"), 0),
        (|| message("kept/a", "1"), 0),
        (|| retained("kept/a", "1"), 0),
        (|| retained("kept/a", "1"), 1),
    ];
    for (waiting, before) in waiting {
        let disk = GatedDisk::default();
        let (scene, _) = scene_on(&disk);
        let engine = &scene.engine;
        let (waits, _) = record(2);
        let (goes_on, sink) = record(3);
        let mut first = Client::new(engine, &waits);
        assert!(first.publish_now(retained("old", "x")).is_ok());
        disk.hold(DiskWork::Write, before);
        thread::scope(|scope| {
            scope.spawn(|| {
                let published = Client::new(engine, &waits).publish_now(waiting());
                assert!(published.is_ok(), "{published:?}");
            });
            disk.wait_until_held();
            let (done, is_done) = bounded(1);
            scope.spawn(move || {
                let mut client = Client::new(engine, &goes_on);
                client.begin();
                subscribe(&mut client, &["news", "old"]);
                let published = client.publish(&[], message("news", "1"));
                let mut pong = b"PONG\n".to_vec();
                client.finish_batch(None, Answers::new(&mut pong));
                let _ = done.send((published, sink.taken()));
            });
            let went_on = is_done.recv_timeout(PATIENCE);
            disk.let_go();
            let told = "yes news\nyes old\n@retained MESSAGE old x\nMESSAGE news 1\nPONG\n";
            assert_eq!(went_on, Ok((Ok(1), told.to_owned())));
        });
    }
}

/// A receipt that says `disk` waits for a sync, and no other does.
#[test]
fn a_sync_is_waited_for_at_disk_alone() {
    for publish in [retained, message] {
        let disk = GatedDisk::default();
        let (scene, store) = scene_on(&disk);
        let engine = &scene.engine;
        let asking = |client: &mut Client<'_>, level: &str| {
            let mut attributes = Attributes::default();
            let pushed = attributes.push(ACK, level.as_bytes());
            pushed.expect("a valid key");
            let asked = Message {
                attributes,
                ..publish("kept/a", "1")
            };
            client.begin();
            assert_eq!(client.publish(&[], asked), Ok(0));
            let receipt = Receipt {
                answered: 1,
                copies: 0,
                reached: None,
            };
            let mut none = Vec::new();
            let answers = Answers {
                receipt: Some(receipt),
                ..Answers::new(&mut none)
            };
            client.finish_batch(None, answers);
        };
        let ((at_disk, of_disk), (at_os, of_os)) = (record(2), record(3));
        let (stop, stopped) = bounded(0);
        let mut told = Vec::new();
        disk.hold(DiskWork::Sync, 0);
        thread::scope(|scope| {
            scope.spawn(|| store.run(Duration::from_secs(3600), engine, &stopped));
            let mut client = Client::new(engine, &at_disk);
            asking(&mut client, "disk");
            disk.wait_until_held();
            asking(&mut Client::new(engine, &at_os), "os");
            told.extend([of_os.taken(), of_disk.taken()]);
            disk.let_go();
            client.wait_for_receipts();
            told.push(of_disk.taken());
            drop(stop);
        });
        assert_eq!(told, ["<1:0>", "", "<1:0>"]);
    }
}
