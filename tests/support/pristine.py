"""Runs a checkout's own command without this package's options: ``python pristine.py FOLDER OPTIONS``.

regan_ext gives only the compatibility fixes and the view of torch.
"""

import importlib
import sys


def main() -> None:
    from regan_ext.hosts import device
    from regan_ext.hosts.compat import fixes as compat

    sys.path.insert(0, sys.argv[1])
    importlib.import_module("dnnlib")
    loop, train = importlib.import_module("training.training_loop"), importlib.import_module("train")
    compat.apply(sys.modules)
    device.use_cpu([loop, train], 1)
    plain = train.launch_training

    def launch(c, **rest) -> None:
        for key in ("G_opt_kwargs", "D_opt_kwargs"):
            compat.float_betas(c[key])
        plain(c=c, **rest)

    train.launch_training = launch
    train.main.main(args=sys.argv[2:])


if __name__ == "__main__":
    main()
