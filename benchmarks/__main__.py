"""Measure, print the table, and write it to `latest.md` beside this file."""

import argparse
import os
from importlib import metadata
from pathlib import Path

import torch

from benchmarks import audit, figures, kernels, maze, models, pendulum, tasks, unet
from physmis.experiments import provenance


def main() -> None:
    """Run all benchmarks."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = describe_machine()
    print("Figures: about four minutes", flush=True)
    figure_rows = figures.run()
    print("Tasks: a few seconds", flush=True)
    task_rows = tasks.run()
    print("Kernels: about a quarter of a minute", flush=True)
    kernel_rows, kernel_notes = kernels.run()
    print("Audit: about a minute", flush=True)
    audit_rows, audit_notes = audit.run()
    print("Maze: about half a minute", flush=True)
    maze_rows = maze.run()
    print("Pendulum: about half a minute", flush=True)
    pendulum_rows, pendulum_notes = pendulum.run()
    print("Models: about a minute", flush=True)
    model_rows, model_notes = models.run()
    print("U-Net against its peer: about a minute", flush=True)
    unet_rows, unet_notes = unet.run()
    lines = ["| operation | ours | peer | ratio | spread |", "|---|---|---|---|---|"]
    lines += [
        f"| {' | '.join(row)} |"
        for row in [
            *figure_rows,
            *unet_rows,
            *maze_rows,
            *pendulum_rows,
            *model_rows,
            *task_rows,
            *kernel_rows,
            *audit_rows,
        ]
    ]
    notes = [
        f"- {note}"
        for note in [*unet_notes, *pendulum_notes, *model_notes, *kernel_notes, *audit_notes, machine]
    ]
    text = "\n".join(["# Latest run", "", *lines, "", *notes]) + "\n"
    path = Path(__file__).with_name("latest.md")
    path.write_text(text, encoding="utf-8")
    print(f"{text}\nWritten to {path}")


def describe_machine() -> str:
    """The machine, how busy it is, and the versions that matter; no names of hosts or users."""
    versions = provenance.versions() | {"diffusers": metadata.version("diffusers")}
    told = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "numpy", "diffusers"))
    load = f"load average {os.getloadavg()[0]:.1f} at the start; " if hasattr(os, "getloadavg") else ""
    return f"Machine: {provenance.machine('cpu')}, one thread used; {load}{told}."


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__).parse_args()
    main()
