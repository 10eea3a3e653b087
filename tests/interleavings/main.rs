//! Requests of one session at once: every order of their steps and of their responses, every loss of the last responses,
//! and a store that fails before or after it has done what it was asked. The manager, the cookies and the seals are the
//! real ones; the browser, the network and the store's clock are the test's.
//!
//! Each test explores what its name is about, holds every run to every sentence of `properties.rs`, and says what is
//! counted beyond that.

#[path = "../browser_model/browser.rs"]
mod browser;
mod event;
mod explorer;
mod history;
mod properties;
mod stepping;
mod survey;
mod tally;
mod visit;
mod world;

use std::collections::BTreeSet;

use explorer::Explorer;
use survey::Survey;
use tally::Tally;
use visit::Deed::{self, Add, Destroy, Grow, Read, Rotate, Shrink, ShrinkAndRotate, Update};
use world::{Start, World};

/// What each of these sets of requests makes of a session that starts like this, with at most so many faults a run.
#[track_caller]
fn explored(start: Start, faults: usize, sets: &[&[Deed]]) -> Survey {
    let world = World::new(start);
    let mut survey = Survey::default();
    for deeds in sets {
        survey.explore(&world, deeds, faults);
    }
    println!("{sets:?}, at most {faults} faults:\n  {:?}\n  {:?}", survey.sound, survey.faulty);
    survey.holds();
    survey
}

/// This one beside each of those.
#[track_caller]
fn beside(start: Start, one: Deed, others: &[Deed]) -> Survey {
    let pairs: Vec<_> = others.iter().map(|other| [one, *other]).collect();
    explored(start, 1, &pairs.iter().map(|pair| &pair[..]).collect::<Vec<_>>())
}

/// Every browser is left with the session and with all that it was told of, now and when every grace is over.
#[track_caller]
fn nothing_is_amiss(survey: &Survey) {
    for tally in [survey.sound, survey.faulty] {
        let Tally { runs, ends, .. } = tally;
        assert_eq!(tally, Tally { runs, ends, ..Tally::default() });
    }
}

#[test]
fn of_parallel_writes_to_a_stored_session_each_is_kept_or_conflicts() {
    for one in [Read, Add, Update] {
        nothing_is_amiss(&beside(Start::Stored, one, &[Read, Add, Update]));
    }
    nothing_is_amiss(&explored(Start::Stored, 0, &[&[Add, Add, Update]]));
}

#[test]
fn a_logout_from_a_stored_session_is_never_undone_by_a_slower_response() {
    nothing_is_amiss(&beside(Start::Stored, Destroy, &[Read, Add, Update, Rotate, Destroy]));
    nothing_is_amiss(&explored(Start::Stored, 0, &[&[Add, Rotate, Destroy], &[Rotate, Rotate, Destroy]]));
}

#[test]
fn a_rotation_keeps_one_of_its_two_records_and_only_one() {
    let Survey { sound, faulty, .. } = beside(Start::Stored, Rotate, &[Read, Add, Update, Rotate]);
    assert_eq!((sound.vanished, faulty.vanished), (0, 0));
    // Who comes with the old reference finds no session. The browser is logged out where the rotation's response is lost,
    // and where a slower one puts the old reference back.
    assert!(sound.gone > 0 && sound.outrun > 0);
    // What is written without having found the session begins another one, and the later of the two responses wins.
    assert!(sound.displaced > 0 && sound.overwritten > 0);
    explored(Start::Stored, 0, &[&[Rotate, Rotate, Add]]);
}

#[test]
fn on_its_way_back_into_cookies_a_session_is_found_by_both_its_cookies() {
    let others = [Read, Add, Update, Rotate, Grow, Shrink, ShrinkAndRotate];
    let Survey { sound, .. } = beside(Start::Stored, Shrink, &others);
    // The last response wins, as always with cookies. Where the one that moves the session is lost, the old reference finds
    // it as long as the grace lasts.
    assert!(sound.overwritten > 0 && sound.vanished > 0);
    beside(Start::Stored, ShrinkAndRotate, &others);
    explored(Start::Stored, 0, &[&[Grow, Shrink, Add], &[Shrink, Add, Rotate]]);
}

#[test]
fn a_logout_beside_a_move_into_cookies_ends_the_record_and_not_the_cookie() {
    let Survey { sound, .. } = beside(Start::Stored, Destroy, &[Grow, Shrink, ShrinkAndRotate]);
    assert!(sound.undone > 0, "the last response wins");
    explored(Start::Stored, 0, &[&[Shrink, Rotate, Destroy]]);
}

#[test]
fn a_session_that_two_requests_move_into_the_store_is_the_later_responses() {
    let Survey { sound, .. } =
        beside(Start::Inline, Grow, &[Read, Add, Update, Rotate, Destroy, Grow, Shrink]);
    assert!(sound.overwritten > 0 && sound.undone > 0);
    explored(Start::Inline, 0, &[&[Grow, Grow, Destroy], &[Grow, Shrink, Add]]);
}

#[test]
fn of_two_responses_with_the_session_in_cookies_the_later_one_wins() {
    let all = [Read, Add, Update, Rotate, Destroy, Shrink];
    let mut undone = 0;
    for (index, one) in all.into_iter().enumerate() {
        let Survey { sound, faulty, .. } = beside(Start::Inline, one, &all[index..]);
        assert_eq!((faulty.runs, sound.displaced, sound.gone, sound.vanished), (0, 0, 0, 0));
        // Whoever writes loses against a later write, or logout.
        assert_eq!(sound.overwritten > 0, one.writes());
        undone += sound.undone;
    }
    assert!(undone > 0);
}

#[test]
fn a_store_that_fails_twice_in_one_request_leaves_nothing_wrong() {
    for start in [Start::Inline, Start::Stored] {
        let all = [Read, Add, Update, Rotate, Destroy, Grow, Shrink, ShrinkAndRotate];
        explored(start, 2, &all.each_ref().map(std::slice::from_ref));
    }
}

#[test]
fn the_orders_that_are_left_out_have_no_other_outcome() {
    for (start, deeds) in
        [(Start::Stored, [Add, Destroy]), (Start::Stored, [Update, Shrink]), (Start::Inline, [Grow, Rotate])]
    {
        let world = World::new(start);
        let outcomes = |mut explorer: Explorer<_>| {
            let mut runs = 0;
            let mut outcomes = BTreeSet::new();
            loop {
                if let Some(history) = world.run(&deeds, &[], &mut explorer) {
                    runs += 1;
                    outcomes.insert(history.outcome());
                }
                if !explorer.advance() {
                    return (runs, outcomes);
                }
            }
        };
        let (few, reduced) = outcomes(Explorer::reduced());
        let (all, unreduced) = outcomes(Explorer::unreduced());
        println!("{start:?}, {deeds:?}: {few} of {all} orders, {} outcomes", unreduced.len());
        assert_eq!(reduced, unreduced);
        assert!(few < all);
    }
}
