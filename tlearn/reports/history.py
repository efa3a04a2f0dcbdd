"""How a run was trained: curves and stages."""

from tlearn.reports.contents import Contents
from tlearn.reports.markup import name, paragraph, table, text
from tlearn.runs.class_figures import Share


def training(contents: Contents) -> str:
    """Return the curves and the stages; of an ensemble its runs."""
    curves = paragraph("Only the head was trained, in one step: there are no curves.")
    if contents.ensemble or any(stage["epochs"] for stage in contents.run.metrics["stages"]):
        begins = "" if contents.ensemble else ", dashed lines are where stages begin"
        accuracy = contents.drawn("accuracy", f"Accuracy: epoch 0 is the probe{begins}.")
        loss = contents.drawn("loss", "Loss: less is better.")
        curves = f'<div class="figures">{accuracy}{loss}</div>'
    rows = [
        [
            name(stage["boundary"] or stage["name"]),
            text(stage["epochs"]),
            f"{stage['seconds']:.0f}",
            text(Share(stage["accuracy"], stage["accuracy_ci95"]).text),
            text(share),
        ]
        for stage, share in zip(
            contents.run.metrics["stages"], contents.run.stage_shares, strict=True
        )
    ]
    what = "run" if contents.ensemble else "trained from"
    header = [what, "epochs", "seconds", "accuracy on validation (95% interval)", "share"]
    gain = "".join(paragraph(text(line)) for line in contents.run.gain_lines())
    share = "The saved model averages the probabilities of these, weighted by their shares."
    averaged = any(0 < stage["share"] < 1 for stage in contents.run.metrics["stages"])
    return curves + table(header, rows) + (paragraph(share) if averaged else "") + gain
