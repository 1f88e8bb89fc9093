"""Runs as event files of TensorBoard, without TensorFlow."""

from collections.abc import Callable
from pathlib import Path

from modjax.export.records import TrialRecord, numbers_of, tracker_package
from modjax.io.files import new_folder


def add_runs(name: str, records: list[TrialRecord], folder: Path) -> int:
    """Write ``folder/trial_id/events...``, with hyperparameters for the HPARAMS tab; return the number of new runs."""
    del name
    writer_of = tracker_package("tensorboard", "tensorboard.summary.writer.event_file_writer").EventFileWriter
    Event = tracker_package("tensorboard", "tensorboard.compat.proto.event_pb2").Event  # noqa: N806
    Summary = tracker_package("tensorboard", "tensorboard.compat.proto.summary_pb2").Summary  # noqa: N806
    hparams_of: Callable = tracker_package("tensorboard", "tensorboard.plugins.hparams.summary_v2").hparams_pb
    fresh = [record for record in records if not (folder / record.trial_id).exists()]
    for record in fresh:
        with new_folder(folder / record.trial_id) as temporary:
            writer = writer_of(str(temporary))
            writer.add_event(Event(summary=hparams_of(record.settings, trial_id=record.trial_id)))
            final = {f"final/{key}": value for key, value in record.metrics.items()}
            for step, numbers in [*((row["epoch"], row) for row in record.history), (len(record.history), final)]:
                values = [Summary.Value(tag=key, simple_value=value) for key, value in numbers_of(numbers).items()]
                writer.add_event(Event(step=step, summary=Summary(value=values)))
            writer.close()
    return len(fresh)
