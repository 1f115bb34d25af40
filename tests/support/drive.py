"""Runs the embedded host in one of several modes, in a process of its own: ``python drive.py MODE OPTIONS``.

probed    through regan_ext, with a probe that records every event
off       through regan_ext as a user would
poisoned  through regan_ext, with a weight that becomes NaN at iteration 40
raced     through regan_ext, in a race for the number of the run folder that another run wins
full      through regan_ext, on a disk that has room for files of 100 kB
noop      through regan_ext, with a hook that does nothing
pristine  the host's own functions called directly; regan_ext gives only the compatibility fixes and the view of torch
"""

import resource
import sys
import tempfile


def main() -> None:
    mode, arguments = sys.argv[1], sys.argv[2:]
    from regan_ext.hosts import embedded_train

    if mode == "pristine":
        pristine(arguments)
        return
    from regan_ext.train.attach import attach

    hooks = {
        "probed": [{"class_name": "support.probes.Recorder"}],
        "noop": [{"class_name": "training_hooks.core.hook.Hook"}],
        "poisoned": [{"class_name": "support.probes.Poison", "at": 40}],
        "off": [],
        "raced": [],
        "full": [],
    }[mode]
    if mode == "raced":
        lose_a_race()
    if mode == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    attach(vars(embedded_train), hooks=hooks)
    embedded_train.main.main(args=arguments)


def lose_a_race() -> None:
    import os

    make = os.makedirs

    def make_late(path, *args, **kwargs) -> None:
        if os.path.basename(path).startswith("00000-"):
            make(path)
        make(path, *args, **kwargs)

    os.makedirs = make_late


def pristine(arguments) -> None:
    import os

    import torch

    from regan_ext.hosts import device
    from regan_ext.hosts.compat import fixes as compat
    from regan_ext.hosts.embedded_train import host_module

    given = dict(argument[2:].split("=", 1) for argument in arguments)
    train = host_module("train")
    _, args = train.setup_training_loop_kwargs(
        gpus=1,
        snap=1,
        metrics=[],
        data=given["data"],
        kimg=int(given["kimg"]),
        batch=int(given["batch"]),
        fp32=True,
        workers=1,
    )
    args.kimg_per_tick = int(given["tick"])
    args.G_kwargs.synthesis_kwargs.channel_base = args.D_kwargs.channel_base = int(given["cbase"])
    args.G_kwargs.synthesis_kwargs.channel_max = args.D_kwargs.channel_max = int(given["cmax"])
    args.run_dir = os.path.join(given["outdir"], "00000-pristine")
    os.makedirs(args.run_dir)
    compat.apply(sys.modules)
    device.use_cpu([host_module("training.training_loop"), train], 1)
    torch.multiprocessing.set_start_method("spawn")
    with tempfile.TemporaryDirectory() as temp_dir:
        train.subprocess_fn(0, args, temp_dir)


if __name__ == "__main__":
    main()
