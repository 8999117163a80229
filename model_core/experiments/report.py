"""The report on the papers' experiments: every figure beside the papers', and what is missing named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from model_core.experiments import published
from model_core.experiments.figures import draw_curves, draw_dice_against, draw_scores, draw_window_counts
from model_core.experiments.plan import (
    ABLATION_NETWORKS,
    CROSS_SITE_NETWORKS,
    DUAL_ABLATION_MODELS,
    EXPERIMENTS,
    LEAVE_ONE_OUT_NETWORKS,
    NETWORK_OF_MODEL,
    ExperimentPlan,
    TrainingJob,
)
from model_core.experiments.published import Scores
from model_core.experiments.results import Evaluation, Results
from model_core.experiments.tables import NONE, minutes_cell, printed, scores_table, test_cells, tests_table
from model_core.metric_table import METRIC
from model_core.networks import build_network, count_parameters
from model_core.reports.document import Heading, Items, Paragraph, Part, Picture, Table, write_document

TITLE = "The papers' experiments"
TITLES = {
    "nonlocal_unet": "Non-local U-Net",
    "cc_3d_fcn": "CC-3D-FCN",
    **{f"model{number}": f"Model{number}" for number in range(1, 6)},
    "dual_aggregation": "Dual aggregation",
    "dual_aggregation_without_attention": "Model-1 (no attention)",
    "dual_aggregation_without_dcp": "Model-2 (no DCP)",
    "dual_aggregation_baseline": "Baseline 3D U-Net",
}
UNSETTLED_ITERATIONS = 1000  # with a momentum of 0.003, (1 - 0.003)^1000 = 5% of the statistics are still the first
NOTHING = "No job of this experiment is finished."
HOW_TO_READ = (
    "± is the sample standard deviation (n − 1) over subjects; the papers do not say which one theirs is. Dice and "
    "3D-MHD are the first paper's definitions, computed on the label map's own grid, so 3D-MHD depends on the size of "
    "that grid; ASD is the mean of the two directed mean surface distances, in mm. Pairs that are equal do not count "
    "for the smallest p that n pairs can give. p values are not corrected for the number of tests; and folds share "
    "most of their training subjects, so that they are not independent and p values are a guide only."
)


def write_experiment_report(
    output: Path, plan: ExperimentPlan, experiments: Sequence[str], data: Path, note: str
) -> Path:
    """Write report.html, report.md and its pictures from the results on disk.

    Args:
        output: folder of the jobs; the report goes there, too.
        plan: of the data set.
        experiments: those to report on.
        data: the data set's folder.
        note: what the user says of the data; may be empty.

    Returns:
        The path of report.html.
    """
    results = Results(output, plan, experiments)
    parts: list[Part] = [Heading(1, TITLE), *_opening(results, data, note)]
    for experiment in EXPERIMENTS:
        if experiment in experiments:
            title = EXPERIMENTS[experiment]
            parts += [Heading(2, title[0].upper() + title[1:]), *_SECTIONS[experiment](results)]
    parts += [Heading(2, "How to read it"), Paragraph(HOW_TO_READ)]
    return write_document(output, TITLE, parts)


def _opening(results: Results, data: Path, note: str) -> Iterator[Part]:
    plan, missing = results.plan, results.missing()
    count = len(results.jobs)
    said = note or "nothing was said of the data (--note), not even whether they are scans or synthetic"
    yield Paragraph(f"Data: {data.resolve().name}, {len(plan.subjects)} labelled subjects; {said}.")
    changes = plan.settings.difference_from_papers()
    if changes:
        yield Paragraph(
            f"Not the papers' settings: {'; '.join(changes)}. These figures cannot confirm or refute the papers'.", True
        )
    else:
        yield Paragraph("Settings: those of the papers.")
    if plan.settings.iterations < UNSETTLED_ITERATIONS:
        yield Paragraph(
            "So few iterations leave batch norm's running statistics unsettled, with which subjects are segmented: the "
            "scores show that the experiments run, and nothing of the networks.",
            True,
        )
    if len(plan.subjects) != published.SUBJECTS:
        yield Paragraph(f"The papers have {published.SUBJECTS} subjects (iSeg-2017); here are {len(plan.subjects)}.")
    devices = ", ".join(results.devices()) or "nothing yet"
    yield Paragraph(f"Finished: {count - len(missing)} of {count} jobs; evaluated on {devices}.", bool(missing))
    if missing:
        yield Paragraph("Missing in the tables below:")
        yield Items(missing)


def _compare(
    results: Results,
    name: str,
    jobs: dict[str, list[TrainingJob]],
    figures: dict[str, dict[str, Scores]],
    captions: dict[str, str],
    papers_n: int | str,
) -> Iterator[Part]:
    """Tables and plots of some models: for each score a table, a plot, and the tests against the last model."""
    found = {model: results.by_subject(model_jobs) for model, model_jobs in jobs.items()}
    if not any(found.values()):
        yield Paragraph(NOTHING)
    for key, caption in captions.items():
        models = {TITLES[model]: list(evaluations.values()) for model, evaluations in found.items()}
        papers = {TITLES[model]: scores for model, scores in figures[key].items()}
        yield scores_table(f"{caption}: {METRIC[key].heading}", METRIC[key], models, papers, papers_n)
        if any(models.values()):
            what = (
                f"{METRIC[key].heading} of {', '.join(models)}: dots are subjects, hollow diamonds the paper's values"
            )
            yield Picture(f"{name}-{key}", draw_scores(METRIC[key], models, papers), what)
    *others, last = found
    if max(map(len, found.values())) == 1:
        yield Paragraph(
            "No test: one subject is evaluated (n = 1), for which the smallest p of Wilcoxon's paired test is 1."
        )
        return
    for other in others:
        table = tests_table((TITLES[last], found[last]), (TITLES[other], found[other]), list(captions))
        if table:
            yield table


def _leave_one_out(results: Results) -> Iterator[Part]:
    jobs = {model: results.plan.leave_one_out([model]) for model in LEAVE_ONE_OUT_NETWORKS}
    captions = {"dice": "Table 1", "mhd_3d": "Table 2"}
    yield from _compare(results, "leave-one-out", jobs, published.LEAVE_ONE_OUT, captions, published.SUBJECTS)


def _dual_leave_one_out(results: Results) -> Iterator[Part]:
    # The Non-local U-Net stands beside it where its folds are there: the test wants a partner.
    models = ["nonlocal_unet", "dual_aggregation"]
    jobs = {model: results.plan.leave_one_out([model]) for model in models}
    if not results.by_subject(jobs["nonlocal_unet"]):
        del jobs["nonlocal_unet"]
    captions = {"dice": "The second paper's Table 1", "asd_mm": "The second paper's Table 1"}
    figures = {
        "dice": published.DUAL_LEAVE_ONE_OUT["dice"]
        | {"nonlocal_unet": published.LEAVE_ONE_OUT["dice"]["nonlocal_unet"]},
        "asd_mm": published.DUAL_LEAVE_ONE_OUT["asd_mm"],
    }
    yield from _compare(results, "dual-leave-one-out", jobs, figures, captions, published.SUBJECTS)


def _parameters(results: Results) -> Iterator[Part]:
    rows = []
    for model, title in TITLES.items():
        count = count_parameters(build_network(NETWORK_OF_MODEL.get(model, model)))
        paper = published.PARAMETERS.get(model)
        rows.append([title, f"{count:,}", f"{paper:,}" if paper else NONE])
    yield Table(f"Trainable parameters; {published.PARAMETERS_SOURCE}", ["Network", "Here", "Paper"], rows)


def _inference_time(results: Results) -> Iterator[Part]:
    found = {model: results.by_subject(results.plan.leave_one_out([model])) for model in LEAVE_ONE_OUT_NETWORKS}
    rows = []
    for model, evaluations in found.items():
        seconds = [entry.seconds for entry in evaluations.values()]
        rows.append([f"{TITLES[model]}, here", str(len(seconds)), minutes_cell(seconds)])
        paper = printed(published.INFERENCE_MINUTES[model], 2)
        rows.append([f"{TITLES[model]}, paper", str(published.SUBJECTS), paper])
    caption = f"Minutes a subject at step {results.plan.settings.step}; {published.INFERENCE_SOURCE}"
    yield Table(caption, ["Model", "n", "Minutes"], rows)
    yield Paragraph(
        "Time of the segmentation alone, without reading and scoring; other programs on the machine lengthen it."
    )
    baseline, network = (found[model] for model in LEAVE_ONE_OUT_NETWORKS)
    both = [subject for subject in network if subject in baseline]
    if both:
        minutes = [[model[subject].seconds / 60 for subject in both] for model in (network, baseline)]
        title = f"{TITLES['nonlocal_unet']} minus {TITLES['cc_3d_fcn']}, paired Wilcoxon signed-rank test (two-sided)"
        headings = ["", "Mean difference", "n", "p", "Smallest p for this n"]
        yield Table(title, headings, [["Minutes", *test_cells(minutes[0], minutes[1], 2)]])


def _ablation(results: Results) -> Iterator[Part]:
    jobs = {model: results.plan.last_fold([model]) for model in ABLATION_NETWORKS}
    captions = {"dice": "Table 6", "mhd_3d": "Table 7"}
    yield from _compare(results, "ablation", jobs, published.ABLATION, captions, 1)


def _dual_ablation(results: Results) -> Iterator[Part]:
    jobs = {model: results.plan.last_fold([model]) for model in DUAL_ABLATION_MODELS}
    captions = {"dice": "The second paper's Table 3"}
    yield from _compare(results, "dual-ablation", jobs, published.DUAL_ABLATION, captions, NONE)
    yield Paragraph("The paper's baseline is a mean over ten subjects; how many the other rows are of is not said.")


def _curves(results: Results) -> Iterator[Part]:
    jobs = {model: results.plan.fold(model, results.plan.last) for model in LEAVE_ONE_OUT_NETWORKS}
    histories = {TITLES[model]: rows for model, job in jobs.items() if (rows := results.history(job))}
    if not histories:
        yield Paragraph(NOTHING)
        return
    yield Picture("curves", draw_curves(histories), f"Training loss and validation Dice of {' and '.join(histories)}")
    step = next(iter(jobs.values())).settings.validation_step
    yield Paragraph(
        f"Validation is of the whole subject at step {step}. The first paper shows its curves in Figure 5 and prints "
        "no numbers of them: there the Non-local U-Net falls faster and lower."
    )


def _overlap_step(results: Results) -> Iterator[Part]:
    (job,) = results.plan.overlap_steps()
    evaluations = {entry.step: entry for entry in results.evaluations(job)}
    if not evaluations:
        yield Paragraph(NOTHING)
        return
    table_6 = published.ABLATION["dice"]["nonlocal_unet"]
    rows = []
    for step, entry in sorted(evaluations.items()):
        row = [f"{step}, here", f"{entry.windows:,}", f"{entry.seconds / 60:.2f}", *_dice_cells(entry)]
        rows.append(row)
        paper = [f"{published.WINDOWS_BY_STEP[step]:,}"] if step in published.WINDOWS_BY_STEP else [NONE]
        at_table_6 = step == published.STEP
        rows.append([f"{step}, paper", *paper, NONE, *(_printed_cells(table_6) if at_table_6 else [NONE] * 4)])
    caption = f"{TITLES['nonlocal_unet']} on {job.testing[0].name}; windows: {published.WINDOWS_SOURCE}; Dice: Table 6"
    yield Table(caption, ["Overlap step", "Windows", "Minutes", "CSF", "GM", "WM", "Average"], rows)
    dice = draw_dice_against("Overlap step (voxels)", evaluations, (published.STEP, table_6), doubling=True)
    yield Picture("overlap-step-dice", dice, "Dice against the overlap step; diamonds: the paper's Table 6, at step 8")
    counts = {step: entry.windows for step, entry in evaluations.items()}
    windows = draw_window_counts(counts, published.WINDOWS_BY_STEP)
    yield Picture("overlap-step-windows", windows, "Number of windows against the overlap step; diamonds: the paper's")
    yield Paragraph("The paper finds steps 8 and 16 accurate and fast; of its Figure 6 it prints no other numbers.")


def _window_side(results: Results) -> Iterator[Part]:
    found: dict[int, Evaluation] = {}
    for side, job in zip(results.plan.settings.window_sides, results.plan.window_sides(), strict=True):
        for entry in results.by_subject([job]).values():
            found[side] = entry
    if not found:
        yield Paragraph(NOTHING)
        return
    table_6 = published.ABLATION["dice"]["nonlocal_unet"]
    rows = []
    for side, entry in found.items():
        rows.append([f"{side}³, here", *_dice_cells(entry)])
        rows.append([f"{side}³, paper", *(_printed_cells(table_6) if side == published.WINDOW else [NONE] * 4)])
    yield Table("Dice by side of the windows (voxels)", ["Window", "CSF", "GM", "WM", "Average"], rows)
    picture = draw_dice_against("Side of the windows (voxels)", found, (published.WINDOW, table_6))
    yield Picture("window-side", picture, "Dice against the side of the windows; diamonds: the paper's Table 6, at 32")
    yield Paragraph("The paper finds 32 best; of its Figure 8 it prints no other numbers.")


def _cross_site(results: Results) -> Iterator[Part]:
    plan = results.plan
    if not plan.others:
        yield Paragraph("No other data set was given (--other-data).")
        return
    names = ", ".join(subject.name for subject in plan.others)
    yield Paragraph(f"Trained on all {len(plan.subjects)} subjects, tested on those of the other data set: {names}.")
    jobs = {job.model: [job] for job in plan.cross_site()}
    captions = {"dice": "Across sites (the second paper's Table 2)", "asd_mm": "Across sites (its Table 2)"}
    yield from _compare(results, "cross-site", jobs, published.CROSS_SITE, captions, "iSeg-2019")
    within = {model: results.by_subject(plan.leave_one_out([model])) for model in CROSS_SITE_NETWORKS}
    models = {TITLES[model]: list(evaluations.values()) for model, evaluations in within.items() if evaluations}
    if models:
        caption = "For comparison, within the first data set (leave-one-subject-out): Dice"
        yield scores_table(caption, METRIC["dice"], models, {}, NONE)
        yield Paragraph("Other subjects are other people: the two tables cannot be paired, and are not tested.")


def _dice_cells(entry: Evaluation) -> list[str]:
    return [f"{value:.4f}" for value in entry.scores["dice"].values()]


def _printed_cells(scores: Scores) -> list[str]:
    return [printed(figure, scores.digits) for figure in (*scores.tissues, scores.average)]


_SECTIONS: dict[str, Callable[[Results], Iterator[Part]]] = {
    "leave-one-out": _leave_one_out,
    "dual-leave-one-out": _dual_leave_one_out,
    "parameters": _parameters,
    "inference-time": _inference_time,
    "ablation": _ablation,
    "dual-ablation": _dual_ablation,
    "curves": _curves,
    "overlap-step": _overlap_step,
    "window-side": _window_side,
    "cross-site": _cross_site,
}
