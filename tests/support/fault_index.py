"""Every fault and threat, and the tests that hold it: what ``benchmarks/faults.md`` lists.

A row names tests by node id (`tests/faults/test_index.py` checks that they exist), or says why the
fault cannot happen here yet.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["INDEX", "Row", "elsewhere"]


@dataclass(frozen=True)
class Row:
    """One fault: what happens, which tests hold it, and what is left open."""

    what: str
    tests: tuple[str, ...] = ()
    open: str = ""


def _in(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{file}.py::{name}" for name in names)


_KILLS, _KERNELS, _CODE = "faults/test_kills", "faults/test_kernels", "faults/test_user_code"
_WORKERS, _PRESSED, _SERVERS = (
    "faults/test_killed_workers",
    "faults/test_interrupts",
    "faults/test_servers",
)
_LARGE, _PROGRAMS = "faults/test_large_runs", "faults/test_exported_programs"
_HOSTILE = "faults/test_hostile_files"
_DISKS, _THREATS, _FILES = (
    "faults/test_full_disks",
    "faults/test_threats",
    "store/test_record_files",
)
_LAB, _HUBS, _BREAK = (
    "browser/test_panel_in_lab",
    "widgets/test_hubs",
    "faults/test_files_that_break",
)
_PANELS = "faults/test_live_panels"
_AGAIN = "test_f34_f35_a_panel_that_is_shown_again_or_reloaded_is_live_soon"
_FRAMES = ("test_f38_panel_of_ten_thousand_trials_draws_while_points_stream_and_the_table_scrolls",)

INDEX: dict[str, Row] = {
    "F1": Row(
        "a killed worker",
        _in(
            _WORKERS,
            "test_f1_killed_workers_lose_nothing",
            "test_f1_a_trial_that_is_killed_three_times_has_failed_and_the_others_go_on",
        )
        + _in(
            "engine/test_resumed_trials", "test_a_killed_workers_trial_goes_on_from_its_checkpoint"
        ),
    ),
    "F2": Row(
        "a killed supervisor",
        _in(
            _KILLS,
            "test_f2_killed_supervisors_lose_nothing",
            "test_f2_a_warm_supervisor_takes_over_from_a_killed_one",
            "test_f2_a_busy_trial_and_all_it_started_end_with_a_killed_supervisor",
            "test_a_point_whose_enqueueing_was_acknowledged_outlives_the_supervisor",
        ),
    ),
    "F3": Row(
        "a killed kernel",
        _in(
            _KERNELS,
            "test_f3_a_killed_kernel_costs_its_run_nothing",
            "test_f3_a_kernel_killed_in_the_middle_of_a_training_costs_it_nothing",
        ),
    ),
    "F4": Row(
        "a kernel that ends on purpose",
        _in(
            _KERNELS,
            "test_f4_a_kernel_that_ends_on_purpose_leaves_a_run_to_resume",
            "test_f4_a_detached_run_goes_on_when_its_kernel_ends",
            "test_f4_stops_and_restarts_at_any_moment_leave_no_process",
        ),
    ),
    "F5": Row(
        "an interrupt",
        _in(
            _PRESSED,
            "test_f5_an_interrupt_gives_the_prompt_back_and_the_run_goes_on",
            "test_f5_an_interrupt_of_a_cells_own_work_gives_the_prompt_back",
            "test_f5_an_interrupted_run_inside_the_kernel_is_kept_and_can_go_on",
            "test_f5_interrupts_at_any_moment_of_a_cell_leave_nothing_half_made",
        )
        + _in(
            "faults/test_inline_interrupts",
            "test_f5_an_interrupt_in_a_phase_of_training_leaves_a_run_that_goes_on",
            "test_f5_a_second_interrupt_while_the_first_is_obeyed_ends_at_once_and_loses_nothing",
            "test_f5_two_interrupts_at_any_moment_of_training_lose_nothing",
            "test_f5_an_interrupted_export_leaves_no_archive_and_works_the_next_time",
        ),
        "of a run in processes of its own an interrupt ends the waiting, at any press",
    ),
    "F6": Row("SIGTERM", _in(_KILLS, "test_f6_sigterm_ends_the_supervisor_in_order")),
    "F7": Row(
        "a process that was asleep",
        _in(_KILLS, "test_f7_a_supervisor_that_was_asleep_is_not_replaced_and_goes_on")
        + _in(
            _WORKERS,
            "test_f7_a_worker_that_was_asleep_ends_its_trial_once",
            "test_f7_a_trial_cancelled_while_its_worker_sleeps_is_over",
        ),
    ),
    "F8": Row(
        "all processes killed",
        _in(_KILLS, "test_f8_all_processes_of_a_run_killed_at_once"),
        "one by one with -9, as fast as that goes; no pid namespace is killed as a whole",
    ),
    "F9": Row(
        "a trial that crashes, exits, hangs",
        _in(
            _CODE,
            "test_f9_f21_one_trial_misbehaves_and_the_others_complete",
            "test_f9_a_trial_that_holds_the_lock_of_python_is_cancelled_all_the_same",
            "test_f9_processes_that_a_trial_left_behind_end_with_the_run",
        )
        + _in("faults/test_figures", "test_f9_the_next_trial_starts_soon_after_one_that_crashed"),
        "a fork bomb is not bounded: how many processes there may be is the system's to say (ulimit -u, a "
        "container's limit)",
    ),
    "F10": Row(
        "a kill around the end of a trial, and beside a checkpoint",
        _in(_KILLS, "test_f10_a_supervisor_killed_around_the_finish_of_a_trial")
        + _in(_WORKERS, "test_f10_a_worker_killed_between_the_name_of_a_checkpoint_and_its_row"),
    ),
    "F11": Row(
        "NaN and infinity", _in(_CODE, "test_f11_a_trial_that_returns_nan_fails_and_is_never_best")
    ),
    "F12": Row(
        "out of memory on the device",
        _in(
            "engine/test_out_of_memory",
            "test_a_trial_that_runs_out_of_memory_is_trained_in_halves_with_the_same_updates",
            "test_after_a_cuda_error_the_next_trial_has_a_fresh_process",
            "test_twenty_trials_in_a_row_without_memory_end_the_run_with_one_message",
        )
        + _in(
            "faults/test_memory_after_failures",
            "test_memory_after_a_failed_run_is_what_it_was_before",
        ),
    ),
    "F13": Row(
        "out of memory on the host",
        _in(_CODE, "test_f9_f21_one_trial_misbehaves_and_the_others_complete"),
    ),
    "F14": Row(
        "errors of the user's code",
        _in(
            _CODE,
            "test_f14_the_same_error_three_times_ends_the_run_with_one_message_and_its_line",
            "test_f14_workers_of_a_data_loader_inside_an_objective_work_and_their_errors_are_told",
        ),
    ),
    "F15": Row(
        "shapes and types that do not fit",
        _in(
            "train/test_dry_run_words",
            "test_two_layers_that_do_not_fit_each_other",
            "test_each_kind_of_layer_says_what_it_takes",
            "test_too_few_outputs_for_the_classes",
            "test_whole_numbers_into_a_linear_layer",
            "test_numbers_into_an_embedding",
            "test_forward_must_return_one_tensor",
        )
        + _in("faults/test_figures", "test_f15_a_shape_that_does_not_fit_is_told_soon"),
    ),
    "F16": Row(
        "what cannot travel",
        _in(_CODE, "test_f16_what_cannot_travel_is_named_when_the_run_is_submitted"),
    ),
    "F17": Row(
        "a cell edited during its run",
        _in(_KERNELS, "test_f17_a_cell_edited_during_a_run_changes_only_the_next_run"),
    ),
    "F18": Row(
        "data that misbehaves",
        _in(
            "data/test_data_bad_input",
            "test_bad_data_is_told",
            "test_million_classes_end_in_a_message",
            "test_class_of_one_row_stays_in_training",
            "test_users_own_error_is_kept_as_the_cause",
            "test_table_of_a_hundred_thousand_rows_and_two_hundred_columns_comes_back_whole",
        ),
    ),
    "F19": Row(
        "odd spaces",
        _in(
            "faults/test_bad_spaces",
            "test_f19_an_impossible_space_is_refused_where_it_is_written",
            "test_f19_a_large_or_tiny_space_is_searched",
            "test_f19_an_empty_space_of_an_objective_is_one_that_asks",
            "test_f19_a_space_that_was_edited_by_hand_is_gone_on_with_only_when_trusted",
        ),
    ),
    "F20": Row(
        "a run without a value",
        _in(
            _CODE,
            "test_f20_a_run_without_any_value_names_the_reason",
            "test_f20_a_run_that_has_no_time_says_so",
            "test_f20_a_run_whose_trials_were_all_pruned_says_so",
        ),
    ),
    "F21": Row(
        "prints, huge errors, patches",
        _in(
            _CODE,
            "test_f21_a_gigabyte_of_prints_is_bounded_and_costs_no_memory",
            "test_f21_torch_that_one_run_patches_is_whole_in_the_next",
            "test_f21_code_that_deletes_its_runs_folder_ends_the_run",
        ),
    ),
    "F22": Row(
        "a full disk",
        _in(
            _DISKS,
            "test_f22_a_run_waits_while_the_disk_is_full_and_goes_on",
            "test_f22_a_disk_that_fills_again_and_again_costs_a_run_nothing",
            "test_f22_a_disk_that_fills_at_each_of_many_writes",
            "test_f22_checkpoints_that_meet_a_full_disk_cost_a_training_nothing",
            "test_f22_an_order_to_end_is_obeyed_while_the_disk_is_full",
        ),
    ),
    "F23": Row(
        "calls of the system that fail",
        _in(
            _BREAK,
            "test_f23_a_call_that_fails_is_an_error_in_words_and_leaves_nothing_half_made",
            "test_f23_calls_that_fail_inside_sqlite_lose_nothing_and_are_told_in_words",
            "test_f23_a_disk_that_is_slow_loses_nothing_and_nobody_is_taken_for_dead",
        )
        + _in(_FILES, "test_disk_that_fills_at_any_size_corrupts_nothing"),
    ),
    "F24": Row(
        "folders that are read-only or removed",
        _in(
            _DISKS,
            "test_f24_a_run_whose_folder_is_removed_ends_and_says_why",
            "test_f24_a_home_that_cannot_be_written_is_an_error_at_the_start",
        )
        + _in(
            _FILES,
            "test_read_only_record_refuses_a_writer_with_a_hint",
            "test_file_or_folder_of_somebody_else_is_an_error_in_words",
        ),
    ),
    "F25": Row(
        "damaged and swapped checkpoints",
        _in(
            _BREAK,
            "test_f25_every_damage_of_a_checkpoint_is_found_and_the_one_before_is_used",
            "test_f25_a_checkpoint_that_is_another_trials_is_refused",
            "test_f25_a_checkpoint_under_the_name_of_another_trials_is_refused",
            "test_f25_another_runs_checkpoint_of_an_equal_trial_is_refused",
            "test_f25_a_checkpoint_of_another_architecture_is_rejected_and_the_one_before_is_used",
        )
        + _in(
            "train/test_fit_resumes", "test_another_modules_state_is_refused_with_the_difference"
        ),
    ),
    "F26": Row(
        "a damaged record",
        _in(
            _FILES,
            "test_every_flipped_bit_in_a_finished_run_is_found",
            "test_flipped_bits_in_an_open_run_never_change_a_result",
            "test_every_truncation_is_found",
            "test_log_laid_beside_a_sealed_record_is_refused",
            "test_run_copied_without_its_log_reads_what_the_file_holds",
        )
        + _in(
            "faults/test_damaged_records",
            "test_f26_a_page_of_zeros_in_a_finished_record_is_found",
            "test_f26_a_page_of_zeros_in_an_open_record_changes_no_number",
            "test_f26_a_stale_index_of_the_log_changes_no_number",
            "test_f26_a_log_that_was_deleted_after_a_kill_leaves_what_the_file_holds",
            "test_f26_the_log_of_another_moment_changes_no_number",
            "test_f26_a_thousand_flipped_bits_in_file_or_log_change_no_number",
        ),
    ),
    "F27": Row(
        "many processes at one store",
        _in(_FILES, "test_of_eight_processes_at_a_new_record_one_writes_and_all_read")
        + _in("store/test_homes", "test_of_eight_processes_that_want_a_name_one_gets_it")
        + _in(
            "faults/test_one_store",
            "test_f27_eight_processes_at_a_new_store_meet_no_error",
            "test_f27_two_kernels_write_and_read_one_store",
        ),
    ),
    "F28": Row(
        "many runs at once", _in("faults/test_figures", "test_f28_ten_runs_at_once_lose_no_point")
    ),
    "F29": Row(
        "a network disk",
        _in(_DISKS, "test_f29_a_network_disk_gets_no_write_ahead_log"),
        "told to be one; no NFS is mounted",
    ),
    "F30": Row(
        "a clock that jumps",
        _in(
            _BREAK,
            "test_f30_a_clock_that_jumps_changes_no_order_and_no_owner",
            "test_f30_a_trial_takes_what_has_passed_whatever_the_clock_says",
            "test_f30_no_time_is_less_than_none_and_a_zone_changes_none",
        )
        + _in("store/test_owners", "test_setting_the_clock_changes_no_owner")
        + _in("widgets/test_live_thread", "test_a_clock_that_is_set_back_stops_no_panel"),
        "on a shared disk another host whose clock is a minute ahead takes a run for left "
        "(the folder's lock still refuses it)",
    ),
    "F31": Row(
        "odd names",
        _in(
            _THREATS,
            "test_t10_a_hostile_name_is_a_label_everywhere",
            "test_t10_a_name_that_cannot_be_shown_is_refused",
        )
        + _in("store/test_homes", "test_running_run_keeps_its_name"),
    ),
    "F32": Row(
        "other schemas",
        _in(_FILES, "test_newer_record_is_refused_politely"),
        "no version is released, so no older one exists",
    ),
    "F33": Row(
        "a PostgreSQL server that goes away",
        _in(
            _SERVERS,
            "test_f33_a_server_that_restarts_again_and_again_loses_nothing",
            "test_f33_connections_that_are_cut_at_any_moment_lose_nothing",
            "test_f33_a_run_waits_while_its_server_only_reads_and_goes_on",
        ),
    ),
    "F34": Row(
        "output cleared, shown again",
        _in(
            _LAB,
            "test_run_is_live_in_two_cells_and_as_a_widget",
            "test_f34_panel_whose_output_was_cleared_is_live_where_it_is_shown_again",
        )
        + _in(_PANELS, _AGAIN),
    ),
    "F35": Row(
        "refresh, two tabs, a connection that is cut, sleep",
        _in(
            _LAB,
            "test_page_is_reloaded_during_and_after_the_run",
            "test_f35_notebook_in_two_pages_is_live_and_obeyed_in_both",
        )
        + _in(_PANELS, _AGAIN)
        + _in(
            _HUBS,
            "test_gap_is_healed_by_one_hello",
            "test_two_clients_have_one_writer",
            "test_tabs_that_were_closed_silently_do_not_pile_up",
            "test_page_that_sleeps_is_sent_little_and_all_at_once_when_it_wakes",
        )
        + _in(
            "browser/test_sleeping_browser",
            "test_f35_run_that_ended_while_the_browser_slept_is_shown_and_saved_whole",
            "test_f35_run_that_ended_while_the_browser_slept_without_a_connection_is_whole",
            "test_f35_run_that_goes_on_after_the_browser_slept_is_live_and_obeys",
        )
        + _in(
            "browser/test_troubled_lines",
            "test_f35_server_kernel_and_run_that_slept_go_on_where_they_were",
            "test_f35_run_that_ended_while_server_and_kernel_slept_is_shown_as_ended",
            "test_f35_panel_whose_connection_was_cut_is_live_again_and_obeyed",
            "test_f35_run_that_ended_while_the_connection_was_cut_is_shown_as_ended",
        ),
        "sleep is SIGSTOP of server, kernels and workers, or of the browser, for seconds",
    ),
    "F36": Row(
        "a notebook without a kernel",
        _in(
            _LAB,
            "test_saved_run_is_drawn_without_a_kernel",
            "test_saved_notebook_is_small_and_holds_no_widget_state",
        ),
    ),
    "F37": Row(
        "the same name twice",
        _in(_KERNELS, "test_f37_the_same_name_twice_never_makes_two_runs_in_one"),
    ),
    "F38": Row(
        "very many trials",
        _in(
            _LARGE,
            "test_f38_a_panel_of_a_hundred_thousand_trials_gets_small_messages",
            "test_f38_pages_that_come_and_go_leave_the_kernel_as_it_was",
            "test_f38_a_trial_among_a_hundred_thousand_is_read_by_itself",
        )
        + _in(_HUBS, "test_run_of_ten_thousand_trials_is_told_in_bounded_messages")
        + _in("faults/test_frames", *_FRAMES),
        "with several objectives all trials are read first",
    ),
    "F39": Row(
        "many panels, many points",
        _in(_HUBS, "test_hundred_updates_a_second_make_ten_messages")
        + _in("faults/test_frames", *_FRAMES)
        + _in(_PANELS, "test_f39_ten_panels_of_a_run_cost_its_kernel_little"),
    ),
    "F40": Row(
        "front ends without widgets",
        _in(
            "widgets/test_live_kernel",
            "test_executed_notebook_shows_the_end_of_its_run",
            "test_display_without_our_extension_shows_the_end",
        )
        + _in("widgets/test_static_html", "test_html_survives_nbconverts_sanitiser")
        + _in(
            "notebooks/test_papermill",
            "test_a_run_is_whole_and_its_end_stands_in_the_notebook",
            "test_a_mistake_is_an_exit_code_and_a_sentence",
        ),
    ),
    "F41": Row(
        "the limit of messages",
        _in(_HUBS, "test_hundred_updates_a_second_make_ten_messages")
        + _in(
            "browser/test_troubled_lines",
            "test_f41_panel_beside_a_cell_that_floods_is_right_when_its_run_has_ended",
        ),
        "hit at 200 messages a second, not at Jupyter's 1,000; what was dropped comes within 30 s",
    ),
    "T1": Row(
        "a notebook that acts when it is opened",
        _in("browser/test_hostile_notebook", "test_t1_a_hostile_notebook_runs_and_fetches_nothing"),
    ),
    "T2": Row(
        "pickles in files of weights",
        _in(
            _HOSTILE,
            "test_t2_a_file_that_is_no_weights_is_refused_in_words_and_nothing_in_it_runs",
            "test_t2_the_files_would_act_where_a_pickle_is_read",
            "test_t2_an_artifact_that_is_a_link_is_not_followed",
        )
        + _in(
            _THREATS,
            "test_t2_no_other_reader_of_weights_is_there",
            "test_t14_no_module_reads_yaml_pickle_or_runs_text",
        ),
    ),
    "T3": Row(
        "exported programs",
        _in(
            _PROGRAMS,
            "test_t3_no_exported_program_of_torch_is_ever_loaded",
            "test_t3_an_onnx_file_reads_no_other_file",
        ),
    ),
    "T4": Row(
        "a run made by somebody else",
        _in(
            _THREATS,
            "test_t4_a_run_of_somebody_else_is_shown_and_not_executed",
            "test_t4_looking_at_a_run_of_somebody_else_changes_no_byte_of_it",
            "test_t4_an_archive_with_a_hostile_member_is_refused_whole",
            "test_t4_our_own_run_is_not_ours_when_its_code_was_changed",
        )
        + _in(_FILES, "test_record_with_what_runs_by_itself_is_refused"),
        "the -shm file of a killed writer, an index that says nothing of the run, is made anew by SQLite",
    ),
    "T9": Row(
        "hostile text in a panel or page",
        _in(
            "widgets/test_static_html",
            "test_html_holds_no_tag_and_no_attribute_of_a_name",
            "test_pictures_hold_only_drawing_and_text",
            "test_terminal_gets_no_character_that_acts",
        )
        + _in("widgets/test_html_reports", "test_report_escapes_whatever_it_shows")
        + ("js/test/hostile.test.ts::makes no element of text %i in any part",),
    ),
    "T10": Row("paths in names", _in(_THREATS, "test_t10_a_hostile_name_is_a_label_everywhere")),
    "T11": Row(
        "SQL and formulas in texts",
        _in(
            _THREATS,
            "test_t11_statements_of_sql_are_never_put_together_from_values",
            "test_t11_a_statement_that_is_put_together_is_seen",
            "test_t11_the_package_writes_no_csv",
            "test_t11_a_name_that_nobody_has_finds_no_run",
            "test_t11_a_table_of_hostile_texts_comes_back_as_it_was",
        ),
        "nothing here writes CSV (a test holds it); who calls `to_csv` of the DataFrame `run.trials` gets pandas' own, "
        "with no formula prefixes",
    ),
    "T12": Row(
        "secrets",
        _in(
            _THREATS,
            "test_t12_secrets_stay_where_they_are",
            "test_t12_a_store_that_cannot_be_reached_does_not_tell_its_password",
        )
        + _in(_SERVERS, "test_t12_the_password_of_the_server_is_nowhere"),
    ),
    "T13": Row(
        "requests through Jupyter's proxy",
        _in(_THREATS, "test_t16_a_run_listens_nowhere_that_others_can_reach")
        + _in(_PROGRAMS, "test_t13_nothing_of_ours_answers_a_request"),
    ),
    "T14": Row("YAML", _in(_THREATS, "test_t14_no_module_reads_yaml_pickle_or_runs_text")),
    "T15": Row(
        "code in arguments",
        _in(
            "faults/test_hostile_arguments",
            "test_t15_only_the_options_that_say_so_take_expressions",
            "test_t15_every_flag_of_every_verb_reads_hostile_words_as_words",
            "test_t15_the_terminal_takes_hostile_names_as_names",
            "test_t15_lines_of_the_magic_with_hostile_words_run_nothing",
            "test_t15_hostile_words_in_python_calls_are_refused",
            "test_t15_a_path_that_no_system_has_is_refused_in_words",
            "test_t15_written_code_calls_what_it_calls_without_hostile_words",
            "test_t15_text_becomes_code_and_programs_start_in_known_places_only",
        )
        + _in(_THREATS, "test_t14_no_module_reads_yaml_pickle_or_runs_text"),
        "--data, --model, --space, --params, --enqueue, --student, settings, {expression} and $name are "
        "Python of the person's own cell, and run as such",
    ),
    "T16": Row(
        "other users of the machine",
        _in(
            _THREATS,
            "test_t16_files_and_folders_of_a_run_are_its_owners_alone",
            "test_t16_another_user_can_neither_read_a_run_nor_connect_to_it",
            "test_t16_a_socket_without_an_owner_is_seen",
            "test_t16_a_run_listens_nowhere_that_others_can_reach",
        ),
    ),
    "T18": Row(
        "a network at import or run",
        _in(
            _THREATS,
            "test_t18_importing_loading_and_running_need_no_network",
            "test_t18_the_magic_and_a_run_of_torch_need_no_network",
        ),
    ),
}


def elsewhere() -> list[str]:
    """The tests of the index that lie outside ``tests/faults``, each once: ``make test-faults`` runs them, too."""
    nodes = dict.fromkeys(node for row in INDEX.values() for node in row.tests)
    return [node for node in nodes if not node.startswith("tests/faults/")]


if __name__ == "__main__":
    print(" ".join(elsewhere()))
