"""Runs a checkout's own command without this package's options: ``python pristine.py FOLDER OPTIONS``.

regan_ext gives only the compatibility fixes and the view of torch. Where a host has no ``--cbase``, ``--cmax`` or ``--tick``,
these values are put among its arguments.
"""

import importlib
import sys

SIZES = {"cbase": "channel_base", "cmax": "channel_max", "tick": "kimg_per_tick"}


def main() -> None:
    from regan_ext.hosts import device
    from regan_ext.hosts.checkout import recognise
    from regan_ext.hosts.compat import fixes as compat

    folder, *arguments = sys.argv[1:]
    flavour = recognise(folder).flavour
    sys.path.insert(0, folder)
    importlib.import_module("dnnlib")
    loop, train = importlib.import_module("training.training_loop"), importlib.import_module("train")
    compat.apply(sys.modules)
    device.use_cpu([loop, train], 1)
    taken = {option.name for option in train.main.params}
    sizes = {name: value for name, value in given(arguments).items() if name in SIZES and name not in taken}

    def edit(args) -> None:
        for key in ("G_opt_kwargs", "D_opt_kwargs"):
            compat.float_betas(args[key])
        for name, value in sizes.items():
            if name == "tick":
                args[SIZES[name]] = int(value)
            else:
                flavour.set_capacity(args, SIZES[name], int(value))

    plain = getattr(train, flavour.setup)

    def launch(c, **rest) -> None:
        edit(c)
        plain(c=c, **rest)

    def set_up(**options):
        description, args = plain(**options)
        edit(args)
        return description, args

    setattr(train, flavour.setup, launch if flavour.is_handed else set_up)
    train.main.main(args=[each for each in arguments if each[2:].partition("=")[0] not in sizes])


def given(arguments):
    return dict(each[2:].split("=", 1) for each in arguments if "=" in each)


if __name__ == "__main__":
    main()
