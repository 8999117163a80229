"""The papers' experiments as jobs: which there are, how their commands read, what is refused before any runs."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from experiment_folders import plan_of, write_empty_subjects, write_result

from model_core import reproduce as command
from model_core.errors import UserError
from model_core.experiments.jobs import read_state, run_job
from model_core.experiments.plan import EXPERIMENTS, ExperimentSettings
from model_core.system.command_line import run_command

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def data(tmp_path):
    return write_empty_subjects(tmp_path / "data", 3)


@pytest.fixture
def other(tmp_path):
    return write_empty_subjects(tmp_path / "other", 2)


def names(jobs):
    return [job.name for job in jobs]


class TestPlan:
    def test_leave_one_out_has_a_job_for_each_network_and_subject(self, data):
        jobs = plan_of(data).jobs(["leave-one-out"])
        assert names(jobs) == [
            "cc_3d_fcn-fold-01", "cc_3d_fcn-fold-02", "cc_3d_fcn-fold-03",
            "nonlocal_unet-fold-01", "nonlocal_unet-fold-02", "nonlocal_unet-fold-03",
        ]  # fmt: skip
        second = jobs[1]
        assert [subject.name for subject in second.training] == ["subject-1", "subject-3"]
        assert [subject.name for subject in second.testing] == ["subject-2"]
        assert second.steps == (8,)

    def test_experiments_share_their_jobs_and_steps_are_united(self, data):
        jobs = plan_of(data).jobs(["ablation", "overlap-step", "curves"])
        assert names(jobs) == [
            "model1-fold-03", "model2-fold-03", "model3-fold-03", "model4-fold-03", "model5-fold-03",
            "nonlocal_unet-fold-03", "cc_3d_fcn-fold-03",
        ]  # fmt: skip
        assert jobs[5].steps == (32, 16, 8, 4)
        assert jobs[6].steps == (8,)

    def test_the_side_of_the_other_experiments_is_not_trained_twice(self, data):
        jobs = plan_of(data).jobs(["window-side"])
        assert names(jobs) == [
            "nonlocal_unet-window-16-fold-03", "nonlocal_unet-window-24-fold-03", "nonlocal_unet-fold-03",
            "nonlocal_unet-window-40-fold-03", "nonlocal_unet-window-48-fold-03",
        ]  # fmt: skip
        assert [job.settings.window for job in jobs] == [16, 24, 32, 40, 48]

    def test_the_second_papers_models_are_trained_at_its_learning_rate_the_baseline_included(self, data):
        jobs = plan_of(data).jobs(["dual-ablation", "ablation"])
        rates = {job.name: (job.settings.network, job.settings.learning_rate) for job in jobs}
        assert rates["dual_aggregation_baseline-fold-03"] == ("model2", 3.3e-3)
        assert rates["dual_aggregation-fold-03"] == ("dual_aggregation", 3.3e-3)
        assert rates["model2-fold-03"] == ("model2", 1e-3)

    def test_across_sites_all_subjects_train_and_the_others_test(self, data, other):
        jobs = plan_of(data, other).jobs(["cross-site"])
        assert names(jobs) == ["nonlocal_unet-cross-site", "dual_aggregation-cross-site"]
        assert [subject.name for subject in jobs[0].training] == ["subject-1", "subject-2", "subject-3"]
        assert {subject.t1.parent for subject in jobs[0].testing} == {other}
        assert not plan_of(data).jobs(["cross-site"])

    def test_of_ten_subjects_all_experiments_are_44_jobs(self, tmp_path):
        # 3 networks × 10 folds, models 1 to 5, 2 dual ablations and their baseline, 4 further sides, 2 across sites
        # (the last folds of the Non-local U-Net and of the dual aggregation network are among the 30).
        data = write_empty_subjects(tmp_path / "ten", 10)
        assert len(plan_of(data, data).jobs(list(EXPERIMENTS))) == 30 + 5 + 3 + 4 + 2

    def test_settings_are_the_papers_and_only_the_last_fold_validates(self, data):
        first, last = plan_of(data).jobs(["leave-one-out"])[::2][:2]
        assert (first.settings.iterations, first.settings.batch, first.settings.window) == (150_000, 5, 32)
        assert first.settings.validate_every == 5000
        assert (first.validates, last.validates) == (False, True)
        assert plan_of(data, iterations=40).fold("model1", 3).settings.validate_every == 4

    def test_steps_larger_than_the_window_are_left_out_of_the_comparison(self, data):
        (job,) = plan_of(data, window=16).jobs(["overlap-step"])
        assert job.steps == (16, 8, 4)

    @pytest.mark.parametrize(("setting", "value"), [("step", 0), ("step", 33), ("overlap_steps", (4, 0))])
    def test_impossible_steps_are_refused(self, setting, value):
        with pytest.raises(UserError, match=f"--{setting.replace('_', '-')} is .*expected"):
            ExperimentSettings(**{setting: value})


class TestCommand:
    def listed(self, capsys, *arguments):
        command.main([*map(str, arguments), "--list-jobs"])
        return capsys.readouterr().out.splitlines()

    def test_each_line_is_a_command_that_a_shell_takes_apart_as_it_was_meant(self, tmp_path, capsys):
        data = write_empty_subjects(tmp_path / "it's a $HOME `folder`", 2)
        output = tmp_path / "out put"
        lines = self.listed(
            capsys, "--data", data, "--output", output, "--experiment", "leave-one-out", "curves", "--iterations", 7,
            "--overlap-steps", 8, 16,
        )  # fmt: skip
        assert len(lines) == 4
        assert shlex.split(lines[0]) == [
            sys.executable, str(REPOSITORY / "model_core" / "reproduce.py"), "--data", str(data), "--output",
            str(output), "--experiment", "leave-one-out", "curves", "--iterations", "7", "--overlap-steps", "8", "16",
            "--job", "cc_3d_fcn-fold-01",
        ]  # fmt: skip
        assert not output.exists()

    def test_all_experiments_are_listed_without_naming_them_and_across_sites_with_other_data(self, data, other, capsys):
        lines = self.listed(capsys, "--data", data, "--output", data.parent / "o")
        assert len(lines) == 9 + 5 + 3 + 4
        assert "--experiment" not in lines[0]
        assert len(self.listed(capsys, "--data", data, "--output", data.parent / "o", "--other-data", other)) == 23

    def test_an_output_keeps_the_settings_that_it_was_begun_with(self, data, tmp_path, capsys):
        arguments = ["--data", str(data), "--output", str(tmp_path / "out"), "--experiment", "parameters"]
        command.main([*arguments, "--iterations", "7", "--note", "made up"])
        assert json.loads((tmp_path / "out" / "settings.json").read_text())["settings"]["iterations"] == 7
        capsys.readouterr()
        lines = self.listed(capsys, *arguments[:4], "--experiment", "curves")
        assert "--iterations 7" in lines[0]
        command.main([*arguments, "--report-only"])
        report = (tmp_path / "out" / "report.md").read_text()
        assert "made up" in report
        assert "iterations 7 (the papers: 150,000)" in report
        assert run_command(command.main, [*arguments, "--iterations", "8"]) == 1
        stderr = capsys.readouterr().err
        assert "--iterations was 7 and is 8" in stderr
        assert stderr.count("\n") == 1

    def test_another_data_set_in_the_same_output_is_refused(self, data, other, tmp_path):
        arguments = ["--output", str(tmp_path / "out"), "--experiment", "parameters"]
        command.main(["--data", str(data), *arguments])
        with pytest.raises(UserError, match="--data was data and is other"):
            command.main(["--data", str(other), *arguments])

    def test_a_finished_job_whose_settings_changed_is_said_so(self, data, tmp_path):
        job = plan_of(data).fold("model1", 3)
        write_result(tmp_path, job, lambda subject, step: (0.9, 0.9, 0.9))
        assert read_state(tmp_path, job).result is not None
        longer = plan_of(data, iterations=9).fold("model1", 3)
        state = read_state(tmp_path, longer)
        assert state.result is None
        assert "--iterations was 150000 and is 9" in state.changed
        with pytest.raises(
            UserError, match="The job model1-fold-03 was made otherwise: --iterations was 150000 and is 9"
        ):
            run_job(tmp_path, longer, data)
        write_empty_subjects(data, 4)
        assert (
            "training subjects was subject-1, subject-2 and is"
            in read_state(tmp_path, plan_of(data).fold("model1", 3)).changed
        )

    def test_a_result_without_a_step_that_is_wanted_now_is_not_complete(self, data, tmp_path):
        plan = plan_of(data)
        write_result(tmp_path, plan.fold("nonlocal_unet", 3), lambda subject, step: (0.9, 0.9, 0.9))
        (job,) = plan.overlap_steps()
        state = read_state(tmp_path, job)
        assert (state.result, state.changed) == (None, "")

    def test_a_damaged_result_counts_as_none(self, data, tmp_path):
        job = plan_of(data).fold("model1", 3)
        write_result(tmp_path, job, lambda subject, step: (0.9, 0.9, 0.9))
        path = tmp_path / "jobs" / job.name / "result.json"
        path.write_text(path.read_text()[:-20])
        assert read_state(tmp_path, job).result is None

    @pytest.mark.parametrize(
        "options",
        [
            ["--experiment", "cross-site"],
            ["--experiment", "table-9"],
            ["--job", "a", "--list-jobs"],
            ["--iterations", "many"],
        ],
    )
    def test_wrong_usage_ends_with_2(self, data, options):
        with pytest.raises(SystemExit) as ended:
            command.main(["--data", str(data), "--output", str(data / "out"), *options])
        assert ended.value.code == 2

    def test_torchrun_without_a_job_is_wrong_usage(self, data, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(SystemExit) as ended:
            command.main(["--data", str(data), "--output", str(data / "out")])
        assert ended.value.code == 2

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (["--job", "unet-fold-01"], "There is no job unet-fold-01; expected one like cc_3d_fcn-fold-01"),
            (["--step", "40"], "--step is 40"),
            (["--iterations", "0"], "--iterations is 0"),
        ],
    )
    def test_faults_end_with_1_and_one_line(self, data, capsys, options, sentence):
        assert run_command(command.main, ["--data", str(data), "--output", str(data / "out"), *options]) == 1
        stderr = capsys.readouterr().err
        assert sentence in stderr
        assert stderr.count("\n") == 1

    def test_one_subject_is_too_few(self, tmp_path):
        data = write_empty_subjects(tmp_path / "one", 1)
        with pytest.raises(UserError, match="holds one labelled subject; expected two or more"):
            command.main(["--data", str(data), "--output", str(tmp_path / "out")])
