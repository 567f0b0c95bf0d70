//! Model checks: engine and wires of the broker, compiled from their sources, on threads whose every
//! step a model checker chooses.
//!
//! Each check runs under hundreds or thousands of schedules: half of them random, half with few, well
//! placed changes of thread (PCT, depth 3). A failure prints its schedule. Two variables help then:
//! `MODEL_SCHEDULE=<schedule>` replays it, `MODEL_ITERATIONS=<n>` searches longer.
//!
//! The sources are compiled a second time, with `sync.rs` of this folder in place of their own, so that
//! the broker need not know of this. Hence also a `main` instead of the usual test harness, which would
//! run their unit tests once more.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the checks need less of the sources than the broker does, and none of their unit tests"
)]

#[path = "../../src/admin/mod.rs"]
mod admin;
#[path = "../../src/auth/mod.rs"]
pub mod auth;
#[path = "../../src/clock/mod.rs"]
mod clock;
#[path = "../../src/engine/mod.rs"]
mod engine;
#[path = "../../src/storage/mod.rs"]
mod storage;
#[path = "../../src/wire/mod.rs"]
mod wire;

mod conversation;
mod durability;
mod ending;
mod follower;
mod handover;
mod memory;
mod reload;
mod socket;
mod subscription;
mod sync;

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Number of thread changes at chosen places that a bug may need to be found.
const DEPTH: usize = 3;

/// Bytes of the stack of each thread: conversations of MQTT need more than the checker gives.
const STACK_BYTES: usize = 512 * 1024;

/// A check, and the number of schedules of each kind.
type Check = (&'static str, fn(), usize);

const CHECKS: [Check; 28] = [
    (
        "everything_delivered_leaves_in_order_or_is_told_as_a_gap",
        handover::everything_delivered_leaves_in_order_or_is_told_as_a_gap,
        1500,
    ),
    (
        "for_want_of_memory_nothing_is_lost_untold",
        handover::for_want_of_memory_nothing_is_lost_untold,
        500,
    ),
    (
        "a_connection_that_waits_for_memory_is_woken",
        memory::a_connection_that_waits_for_memory_is_woken,
        1000,
    ),
    (
        "whatever_is_chosen_nothing_is_lost_untold",
        handover::whatever_is_chosen_nothing_is_lost_untold,
        1000,
    ),
    (
        "a_gap_stands_exactly_where_the_messages_are_missing",
        handover::a_gap_stands_exactly_where_the_messages_are_missing,
        1500,
    ),
    (
        "much_is_flushed_in_parts_and_all_of_it_leaves",
        handover::much_is_flushed_in_parts_and_all_of_it_leaves,
        150,
    ),
    (
        "who_waits_for_room_is_woken_by_the_flusher",
        handover::who_waits_for_room_is_woken_by_the_flusher,
        400,
    ),
    (
        "nothing_leaves_after_the_close",
        ending::nothing_leaves_after_the_close,
        1000,
    ),
    (
        "no_thread_sleeps_on_after_the_close",
        ending::no_thread_sleeps_on_after_the_close,
        400,
    ),
    (
        "no_thread_sleeps_on_when_the_socket_fails",
        ending::no_thread_sleeps_on_when_the_socket_fails,
        400,
    ),
    (
        "hurry_ends_all_waiting_without_a_deadline",
        ending::hurry_ends_all_waiting_without_a_deadline,
        400,
    ),
    (
        "no_receipt_leaves_before_its_sync_and_none_is_forgotten",
        durability::no_receipt_leaves_before_its_sync_and_none_is_forgotten,
        1500,
    ),
    (
        "nothing_follows_the_end_of_a_subscription",
        subscription::nothing_follows_the_end_of_a_subscription,
        500,
    ),
    (
        "nothing_follows_when_the_publisher_looks_twice",
        subscription::nothing_follows_when_the_publisher_looks_twice,
        250,
    ),
    (
        "a_subscriber_gets_all_from_then_on",
        subscription::a_subscriber_gets_all_from_then_on,
        500,
    ),
    (
        "a_group_loses_nothing_when_a_member_unsubscribes",
        subscription::a_group_loses_nothing_when_a_member_unsubscribes,
        500,
    ),
    (
        "a_group_loses_nothing_when_a_member_is_gone",
        subscription::a_group_loses_nothing_when_a_member_is_gone,
        500,
    ),
    (
        "a_suback_comes_first_and_nothing_follows_an_unsuback",
        conversation::a_suback_comes_first_and_nothing_follows_an_unsuback,
        300,
    ),
    (
        "a_long_walk_over_retained_messages_comes_before_newer_ones",
        conversation::a_long_walk_over_retained_messages_comes_before_newer_ones,
        300,
    ),
    (
        "retained_messages_come_once_and_before_newer_ones",
        conversation::retained_messages_come_once_and_before_newer_ones,
        300,
    ),
    (
        "a_receipt_comes_after_what_it_promises",
        conversation::a_receipt_comes_after_what_it_promises,
        300,
    ),
    (
        "a_follower_gets_each_message_once_and_in_order",
        follower::a_follower_gets_each_message_once_and_in_order,
        300,
    ),
    (
        "nothing_follows_the_end_of_following",
        follower::nothing_follows_the_end_of_following,
        300,
    ),
    (
        "nothing_goes_on_by_rules_that_were_replaced",
        reload::nothing_goes_on_by_rules_that_were_replaced,
        300,
    ),
    (
        "no_message_under_way_is_delivered_by_rules_that_were_replaced",
        reload::no_message_under_way_is_delivered_by_rules_that_were_replaced,
        1000,
    ),
    (
        "no_subscription_is_made_by_rules_that_were_replaced",
        reload::no_subscription_is_made_by_rules_that_were_replaced,
        1000,
    ),
    (
        "a_walk_over_retained_messages_ends_at_other_rules",
        reload::a_walk_over_retained_messages_ends_at_other_rules,
        200,
    ),
    (
        "a_session_that_is_taken_over_loses_what_other_rules_take",
        reload::a_session_that_is_taken_over_loses_what_other_rules_take,
        200,
    ),
];

fn main() -> ExitCode {
    let trials = CHECKS.map(|(name, check, iterations)| {
        Trial::test(name, move || {
            explore(check, iterations);
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn explore(check: fn(), iterations: usize) {
    if let Ok(schedule) = env::var("MODEL_SCHEDULE") {
        return shuttle::replay(check, &schedule);
    }
    let iterations = match env::var("MODEL_ITERATIONS") {
        Ok(number) => number.parse().expect("MODEL_ITERATIONS is a number"),
        Err(_) => iterations,
    };
    run(RandomScheduler::new(iterations), check);
    run(PctScheduler::new(DEPTH, iterations), check);
}

fn run(scheduler: impl Scheduler + 'static, check: fn()) {
    let mut config = Config::new();
    config.silence_warnings = true;
    config.stack_size = STACK_BYTES;
    Runner::new(scheduler, config).run(check);
}
