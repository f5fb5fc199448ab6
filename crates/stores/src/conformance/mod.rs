//! The one suite that every store passes: each promise of `verona_core::store` is a function that
//! panics when it is broken. [`conformance`](crate::conformance!) makes a named test of each.

pub mod batches;
pub mod entries;
pub mod logs;
pub mod random;
pub mod subject;

pub use subject::{Subject, play};

/// Makes a module `conformance` with one test for each promise. The argument is a function that
/// makes a fresh, empty [`Subject`].
///
/// The crate that uses it needs no dependency beyond this one.
#[macro_export]
macro_rules! conformance {
    ($make:expr) => {
        mod conformance {
            use super::*;

            $crate::promises!($make, entries:
                a_value_is_what_was_put_last
                what_nobody_wrote_is_not_there
                entries_come_in_the_order_of_the_tables_and_their_keys
                owners_and_tables_do_not_mix
                deleting_removes_one_entry_and_nothing_else
                clearing_removes_one_table_of_one_owner
                erasing_removes_all_of_one_owner
                owners_are_listed_by_page_in_order
                owners_of_logs_are_listed_while_they_have_records
                odd_keys_and_owners_are_kept_apart
                big_values_come_back_whole
                an_account_loads_many_tables_at_once
            );
            $crate::promises!($make, batches:
                a_batch_is_applied_in_its_order
                batches_are_applied_in_the_order_of_submission
                a_refused_batch_leaves_nothing_and_its_neighbours_stand
                tickets_are_numbered_and_settle_in_order
                an_empty_batch_waits_for_all_before
                what_is_settled_is_read
                no_reader_sees_half_a_batch
                submitters_on_many_threads_keep_their_own_order
                a_shape_takes_only_its_own_writes
                there_is_room_when_nothing_waits
                a_closed_store_refuses
                closing_settles_what_was_submitted
            );
            $crate::promises!($make, logs:
                a_record_comes_back_whole
                an_append_that_does_not_rise_is_refused
                pages_forward_join_to_the_whole_log
                pages_backward_join_to_the_whole_log
                every_filter_selects_in_pages_and_counts
                a_page_of_nothing_tells_whether_there_is_more
                each_peer_is_known_with_its_last_record_of_a_kind
                amending_replaces_flags_and_stanza_only
                unflagging_stops_at_its_place
                unflagging_removes_what_is_left_without_flags
                flags_given_after_unflagging_stand
                unflagging_spares_what_is_appended_later
                removing_takes_one_record
                trimming_takes_all_up_to_its_place
                last_seq_outlives_its_record
                logs_of_an_owner_do_not_mix
                a_log_is_read_alike_when_it_has_grown_long
                big_stanzas_come_back_whole
            );
            $crate::promises!($make, random:
                a_thousand_random_writes_leave_what_the_model_says
                random_writes_in_few_batches_leave_what_the_model_says
            );
        }
    };
}

/// Makes a test of each promise that is named; [`conformance`](crate::conformance!) uses it.
#[doc(hidden)]
#[macro_export]
macro_rules! promises {
    ($make:expr, $group:ident: $($name:ident)*) => {$(
        #[test]
        fn $name() {
            $crate::conformance::play($make, $crate::conformance::$group::$name);
        }
    )*};
}
