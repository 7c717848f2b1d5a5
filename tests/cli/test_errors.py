"""A user's mistake gives one message that names the value and what to do, and leaves no files."""

import errno
import io
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.keys import check_command_line
from context_agg.runs.build import build
from context_agg.train import main
from tests.command import call
from tests.fake_mnist import write_mnist

MISTAKES = [
    # keys and choices
    (["model=bsaic"], ["unknown model=bsaic", "did you mean model=basic?", "basic, dil", "large"]),
    (["experiment=digits/backpop"], ["did you mean experiment=digits/backprop?"]),
    (["hydra/launcher=jobli"], ["unknown hydra/launcher=jobli", "hydra/launcher=joblib"]),
    (["model="], ["unknown model=;", "basic, dilation10"]),
    (["model=null"], ["model=null: the choices are basic"]),
    (["schedule=null"], ["to have none, leave it out", "~schedule", "cosine"]),
    (["model=[basic,large]"], ["model=[basic,large]: choose one model"]),
    (["trainer=[]"], ["trainer is missing", "trainer=NAME: ddp, default"]),
    (["~optimizer"], ["optimizer is missing", "optimizer=NAME: adam", "leave out ~optimizer"]),
    (["~model"], ["model is missing", "leave out ~model"]),
    (["~seed"], ["seed is missing", "leave out ~seed"]),
    (["~trainer.accelerator"], ["trainer.accelerator is missing", "leave out"]),
    (["~callbacks.best_checkpoint"], ["callbacks.best_checkpoint is missing"]),
    (["optimizer@foo=sgd"], ["optimizer@foo"]),
    (["trainer=[[1],[2]]"], ["trainer=[[1],[2]]: the choices of trainer are ddp, default"]),
    (["model=[nan]"], ["model=[nan]: the choices of model are basic"]),
    (["checkpoint=3"], ["checkpoint=3: checkpoint is a group of settings, not a value"]),
    (["callbacks.finite=null"], ["callbacks.finite=None", "to do without, ~callbacks.finite"]),
    (["~optimizer._target_"], ["optimizer._target_ is missing", "leave out ~optimizer._target_"]),
    (
        ["optimizer._target_=tests.own_parts.Sign"],
        ["does not take weight_decay, which optimizer=adam", "~optimizer.weight_decay"],
    ),
    (
        ["-m", "optimizer._target_=torch.optim.Adam,tests.own_parts.Sign"],
        ["optimizer._target_=tests.own_parts.Sign: it does not take weight_decay"],
    ),
    (["model=linear", "model._target_=tests.own_parts.Pair"], ["take hidden, which model=linear"]),
    (["callbacks.finite._target_=0"], ["callbacks.finite._target_=0 must name a class"]),
    (["callbacks.finite._target_=nix"], ["finite: Error loading 'nix': ModuleNotFoundError"]),
    (["callbacks.finite._target_=torch.nn.Identity"], ["finite: torch.nn.Identity gives Identity"]),
    (["optimizer._target_=builtins.dict", "~optimizer.lr"], ["optimizer: "]),
    (["data._target_=builtins.dict"], ["data: builtins.dict gives dict, not ImageData"]),
    (["model._target_=builtins.dict"], ["model: builtins.dict gives dict, not Module"]),
    (["loss._target_=builtins.dict"], ["loss: builtins.dict gives dict, not Module"]),
    (["trainer._target_=builtins.dict"], ["trainer: builtins.dict gives dict, not Trainer"]),
    (["+model.padding=same"], ["model.padding is in conf/ already: leave out the +"]),
    (["model.nix=1", "+model.padding=same"], ["'model.nix'"]),
    (["+callbacks.label_images.nix=[1]"], ["'callbacks.label_images.nix'"]),
    # the form of the line
    (["=5"], ["cannot read =5", "KEY=VALUE"]),
    (["+=1"], ["cannot read +=1", "KEY=VALUE"]),
    (["seed=0,1"], ["seed=0,1 names values to sweep over: put -m before", "seed=[A,B]"]),
    (["hydra.run.dir=a,b"], ["hydra.run.dir=a,b: ", "to one value each"]),
    (["seed=range(-1)"], ["seed=range(-1) gives no values", "KEY=range(3)"]),
    (["-m", "seed=range(1e9)"], ["seed=range(1e9) gives more than 1,000 values"]),
    (["-m", "seed=shuffle(range(1e9))"], ["seed=shuffle(range(1e9)): the values", "KEY=A,B"]),
    (["-m", "seed=interval(0,1)"], ["seed=interval(0,1): the values to sweep over are listed"]),
    (["-m", "model=glob(*)"], ["model=glob(*): the values to sweep over are listed"]),
    (["hydra.sweeper.params={a:{b:[1]}}"], ["of Hydra's own settings only", "hydra.run.dir"]),
    (["~hydra.callbacks.sweep"], ["~hydra.callbacks.sweep: of Hydra's own settings only"]),
    (["--config-name", "check"], ["unknown option --config-name"]),
    (["--experimental-rerun", "x"], ["unknown option --experimental-rerun"]),
    (["--config-dir", "nix"], ["--config-dir nix: there is no such folder"]),
    (["--resolve"], ["--resolve goes with --cfg"]),
    (["--help", "debug=nix"], ["unknown debug=nix"]),
    (["--help", "seed=0,1"], ["seed=0,1 names values to sweep over"]),
    (["--max_epochs", "3"], ["unknown option --max_epochs", "trainer.max_epochs=3"]),
    (["--epochs=3"], ["unknown option --epochs=3", "trainer.max_epochs=3"]),
    (["--nix"], ["unknown option --nix", "KEY=VALUE"]),
    (["basic"], ["did you mean model=basic?"]),
    (["broken"], ["did you mean backprop=broken?"]),
    (["model"], ["model needs a value, such as model=basic"]),
    (["backprop=auto", "-m", "seed=0,1"], ["put -m before all KEY=VALUE arguments"]),
    (["-m", "--cfg", "job"], ["not allowed with argument"]),
    (["model.dilations=[1,2"], ["a bracket is missing"]),
    (["data.root=/home/müller"], ["letter outside ASCII", "\"data.root='/home/müller'\""]),
    (["hydra.run.dir=läufe"], ["\"hydra.run.dir='läufe'\""]),
    (["modle=basic"], ["'modle'", "did you mean 'model'"]),
    (["optimizer.lrr=0.1"], ["'optimizer.lrr'", "did you mean 'optimizer.lr'"]),
    (["lr=0.1"], ["'lr'", "did you mean 'optimizer.lr'"]),
    (["trainer.epochs=3"], ["did you mean 'trainer.max_epochs'"]),
    (["trainer.gradient_clip_val=1"], ["add it with a plus: +trainer.gradient_clip_val=1"]),
    (["+foo=1"], ["'foo'", "nothing reads it", "--cfg job"]),
    (["+model.chanels=4"], ["'model.chanels'", "did you mean 'model.channels'"]),
    (["+model.in_channels=3"], ["'model.in_channels'", "nothing reads it"]),
    (["+trainer.fast_dev_run=true"], ["debug=step", "detect_anomaly, gradient_clip_algorithm"]),
    (["++trainer.max_steps=1"], ["trainer.max_epochs or trainer.limit_train_batches"]),
    (["trainer.max_steps=1"], ["trainer.max_epochs or trainer.limit_train_batches"]),
    (["+trainer.strategy=ddp"], ["nothing reads it", "accumulate_grad_batches, benchmark"]),
    (["+trainer.logger=false"], ["'trainer.logger'", "nothing reads it"]),
    (["+optimizer.btas=[0,0]"], ["'optimizer.btas'", "nothing reads it"]),
    (
        ["data.root=x"],
        ["'data.root'", "it belongs to data=camvid data=cityscapes"],
    ),
    (["model=linear", "model.channels=3"], ["'model.channels'", "model=basic"]),
    (["model=basic,linear", "model.nix=3"], ["'model.nix'"]),
    (["backprop=auto=manual"], ["cannot read backprop=auto=manual", "quotes"]),
    # the network
    (["model.channels=0"], ["model: channels=0 must be a whole number, 1 or more"]),
    (["model.channels=2.5"], ["model: channels=2.5 must be a whole number"]),
    (["model.dilations=[1,0]"], ["model: dilations=[1, 0] must be a list", "1 or more"]),
    (["model.dilations=3"], ["model: dilations=3 must be a list"]),
    (["model.dilations=[1,2]"], ["2 dilations", "7 widths"]),
    (["model.widths=[1,1,1,1,1,1,-1]"], ["model: widths=[1, 1, 1, 1, 1, 1, -1] must be"]),
    (["model.hidden=[0]"], ["model: hidden=[0] must be"]),
    (["model.init=identiy"], ["unknown init='identiy'", "identity, normal"]),
    (["model.init_std=big"], ["model: init_std='big' must be a finite number, 0 or more"]),
    (["model.padding=valid"], ["28x28", "at least 67x67", "'same' or 'once'"]),
    (["model=post", "model.shortcut.window=0"], ["model.shortcut: window=0 must be a whole"]),
    (["model=post", "model.shortcut.decay=-1"], ["model.shortcut: decay=-1 must be"]),
    (["model.shortcut.scale=1"], ["'model.shortcut.scale'", "it belongs to model=post"]),
    (["model=post", "model.activation=relu"], ["unknown activation='relu'", "sigmoid, arctan"]),
    (["trainer.devices=2"], ["trainer.devices=2 must be 1"]),
    (["+trainer.accumulate_grad_batches=0"], ["accumulate_grad_batches=0 must be"]),
    (["model=post", "model.dilations=[]"], ["dilations=[] must name at least one layer"]),
    (["model=post", "model.init_std=null"], ["init_std=None must be a finite number"]),
    (["frozen=[contxt]"], ["frozen=contxt: the network has no such part", "context", "head"]),
    (["frozen=context"], ["frozen=context must be a list of parts"]),
    (
        ["frozen=[front_end,context,head]"],
        ["leaves nothing to train", "parts: context, front_end, head"],
    ),
    (["model.channels=100000"], ["10,252.6 GB", "this machine has", "lower model.channels"]),
    (["model=linear", "model.hidden=[1000000000]"], ["lower model.hidden"]),
    (
        ["model=linear", "~model.hidden", "model._target_=tests.own_parts.TooFew"],
        ["model: for one image it gives (1, 2), not (1, 10): a number for the image and each of"],
    ),
    (
        ["model=linear", "~model.hidden", "model._target_=tests.own_parts.Pair"],
        ["model: for one image it gives a tuple, not a tensor of shape (1, 10)"],
    ),
    (["model.channels=10000000000"], ["PyTorch cannot count", "lower model.channels"]),
    (
        ["callbacks=gradient_noise", "callbacks.gradient_noise.eta=-1"],
        ["callbacks.gradient_noise: eta=-1 must be"],
    ),
    (
        ["callbacks=random_gradients", "model=linear"],
        ["random_gradients.parts=context: the network has no such part; it has head, "],
    ),
    (
        ["callbacks=random_gradients", "callbacks.random_gradients.parts=context"],
        ["callbacks.random_gradients.parts=context must be a list of parts"],
    ),
    (["backprop=manul"], ["unknown backprop='manul'; choose one of auto, manual"]),
    # how it is trained
    (["optimizer.lr=0"], ["optimizer.lr=0 must be a number above 0"]),
    (["optimizer.lr=-1"], ["optimizer.lr=-1 must be a number above 0"]),
    (
        ["callbacks.best_checkpoint.monitor=val/iou"],
        ["best_checkpoint: monitor=val/iou needs dense data"],
    ),
    (
        ["callbacks.best_checkpoint.monitor=train/loss"],
        ["unknown monitor='train/loss'; choose one of val/accuracy, val/iou, val/loss"],
    ),
    (
        ["callbacks.best_checkpoint.mode=min"],
        ["unknown key 'callbacks.best_checkpoint.mode'"],
    ),
    (["optimizer.lr=nan"], ["optimizer.lr=nan must be"]),
    ([f"optimizer.lr={'9' * 400}"], ["must be a number above 0"]),
    (["optimizer.lr=1e50"], ["optimizer: ", "overflow"]),
    (["loss.ignore_index=nix"], ["loss: "]),
    (["+loss.label_smoothing=7"], ["loss: ", "label_smoothing"]),
    (["+loss.reduction=none"], ["loss: ", "one number for a batch"]),
    (["+optimizer.differentiable=true"], ["optimizer: ", "differentiable"]),
    (
        ["optimizer._target_=torch.optim.LBFGS", "~optimizer.weight_decay"],
        ["optimizer: torch.optim.LBFGS needs a closure", "choose another"],
    ),
    (["+trainer.gradient_clip_val=-1"], ["trainer.gradient_clip_val=-1 must be a number above 0"]),
    (["+trainer.detect_anomaly=5"], ["trainer.detect_anomaly=5 must be true or false"]),
    (["trainer.log_every_n_steps=0"], ["trainer.log_every_n_steps=0 must be a whole number"]),
    (["trainer.max_epochs=1e9"], ["trainer.max_epochs=1000000000.0 must be a whole number"]),
    (["trainer.limit_train_batches=1e-9"], ["40 batches is less than one"]),
    (
        ["trainer.accelerator=cpu", "trainer.precision=16-mixed"],
        ["trainer.precision=16-mixed needs a CUDA device", "bf16-mixed", "32-true"],
    ),
    (["optimizer.lr=fast"], ["optimizer.lr=fast must be"]),
    (
        ["schedule=cosine", "schedule._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"],
        ["schedule: torch.optim.lr_scheduler.ReduceLROnPlateau needs a score at every step"],
    ),
    (
        ["schedule=cosine", "schedule._target_=torch.optim.lr_scheduler.StepLR"],
        ["schedule: ", "missing", "'step_size'"],
    ),
    (["schedule=cosine", "+schedule.gamma=1"], ["'schedule.gamma'"]),
    (["schedule=cosine", "schedule._target_=nix"], ["schedule: Error loading 'nix'"]),
    (["schedule=cosine", "schedule._target_=builtins.dict"], ["schedule: "]),
    (["+schedule.T_max=5"], ["schedule"]),
    (["optimizer=sgd", "optimizer.momentum=1.5"], ["optimizer.momentum=1.5 must be"]),
    (
        ["optimizer=draft_adam", "optimizer.betas=[0.9,abc]"],
        ["optimizer: betas=[0.9, 'abc'] must be two numbers from 0 to below 1"],
    ),
    (["optimizer=draft_adam", "optimizer.betas=[0.9]"], ["optimizer: betas=[0.9] must be two"]),
    (["optimizer=draft_adam", "optimizer.betas=[1,0.999]"], ["optimizer: betas=[1, 0.999] must"]),
    (
        ["optimizer=caffe_sgd", "optimizer.bias_lr=-1"],
        ["optimizer: bias_lr=-1 must be a finite number, 0 or more"],
    ),
    (["trainer.max_epochs=0"], ["trainer.max_epochs=0 must be a whole number, 1 or more"]),
    (["trainer.max_epochs=2.5"], ["trainer.max_epochs=2.5 must be"]),
    (["trainer.limit_train_batches=1.5"], ["trainer.limit_train_batches=1.5", "a fraction"]),
    (["trainer.accelerator=gpu"], ["trainer.accelerator=gpu must be one of auto, cpu, cuda"]),
    (["trainer.precision=16"], ["trainer.precision=16 must be one of 32-true"]),
    (["+trainer.gradient_clip_algorithm=nix"], ["trainer: ", "nix"]),
    (["seed=-1"], ["seed=-1 must be a whole number"]),
    (["compile=maybe"], ["compile=maybe must be true or false"]),
    (
        ["debug=profile", "callbacks.profile.steps=0"],
        ["callbacks.profile: steps=0 must be a whole number, 1 or more"],
    ),
    (
        ["debug=profile", "callbacks.profile.warmup=20"],
        ["callbacks.profile: warmup=20 and steps=5 need 25 batches", "trains on 10", "lower them"],
    ),
    (
        ["debug=overfit", "callbacks.overfit.loss=abc"],
        ["callbacks.overfit: loss='abc' must be a finite number, 0 or more"],
    ),
    # data and places
    (["data.batch_size=0"], ["data: batch_size=0 must be a whole number, 1 or more"]),
    (["data.seed=manual"], ["data.seed=manual must be a whole number from 0"]),
    (["data.batch_size=true"], ["data: batch_size=True must be"]),
    (["data.shift=-1"], ["data: shift=-1 must be"]),
    (["data.shift=1000"], ["data: shift=1000 must be less than the 28 pixels"]),
    (["data.rotate=1e9"], ["data: rotate=1000000000.0 must be", "from 0 to 180"]),
    (["data.zoom=1e9"], ["data: zoom=1000000000.0 must be", "from 0 to 10"]),
    (["data.held_out=tset"], ["data: unknown held_out='tset'", "validation, test"]),
    (["hydra.run.dir=null"], ["hydra.run.dir=null: ", "not Optional"]),
    (["hydra.run.dir="], ["hydra.run.dir= must name a folder"]),
    (
        ["-m", "seed=0,1", "hydra.sweep.dir=pyproject.toml/x"],
        ["hydra.sweep.dir=pyproject.toml/x: can"],
    ),
    (["hydra.run.dir=pyproject.toml/x"], ["hydra.run.dir=pyproject.toml/x: cannot write"]),
]


def message_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `main` prints before it exits with a nonzero code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
    assert exit_.value.code
    code = exit_.value.code
    return (code if isinstance(code, str) else "") + capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "parts"), MISTAKES, ids=[str(m[0]) for m in MISTAKES])
def test_a_mistake_is_one_message_and_leaves_nothing_behind(
    arguments: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    message = message_of(arguments, capsys)
    for part in parts:
        assert part in message
    assert "Traceback" not in message
    assert [file.name for file in tmp_path.iterdir()] == ["pyproject.toml"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["backprop=auto,brokn"], "unknown backprop='brokn'; choose one of auto"),
        (["optimizer.lr=0.1,-1"], "optimizer.lr=-1 must be"),
        (["model=basic,bascic"], "bascic"),
        (["seed=0,1", "trainer.max_epochs=0,1"], "trainer.max_epochs=0 must be"),
        (["frozen=[],[nix]"], "frozen=nix: the network has no such part"),
        (["model.channels=2,100000"], "lower model.channels"),
        (["data.batch_size=64,0"], "data: batch_size=0 must be"),
        (
            ["seed=0,1", "model=linear", "~model.hidden", "model._target_=tests.own_parts.TooFew"],
            "model: for one image it gives (1, 2), not (1, 10)",
        ),
        (["model.channels=2,4", "model.dilations=[1,1,2,4,8,16,1],[0,1]"], "model: dilations=[0,"),
        (["seed=0,1", "callbacks.finite._target_=nix"], "callbacks.finite: Error loading 'nix'"),
        (["backprop=auto,manual", "loss.ignore_index=null"], "loss: "),
        (["callbacks.label_images.images=1,0"], "callbacks.label_images: images=0 must be"),
    ],
)
def test_a_mistake_in_a_sweep_is_found_before_its_first_run(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in message_of(["-m", *arguments], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["seed=1"], ["-m", "seed=0,1"], ["debug=step"]])
def test_a_file_where_the_default_folder_would_be(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "outputs").touch()
    monkeypatch.chdir(tmp_path)
    message = message_of(arguments, capsys)
    key = "hydra.sweep.dir" if "-m" in arguments else "hydra.run.dir"
    assert message.startswith(f"{key}=outputs/")
    assert f"cannot write to {tmp_path / 'outputs'} (Not a directory)" in message
    assert f"name another folder with {key}=DIR" in message
    assert [file.name for file in tmp_path.iterdir()] == ["outputs"]


def test_a_folder_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert f"cannot write to {tmp_path} (Permission denied)" in message_of([], capsys)
    check_command_line(["seed=1"], "check")  # writes nothing


EXPERIMENT = "# @package _global_\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"{EXPERIMENT}model:\n  chanels: 3\n", ["'model.chanels'", "mine", "'model.channels'"]),
        (f"{EXPERIMENT}optimiser:\n  lr: 3\n", ["'optimiser'", "did you mean 'optimizer'"]),
        (f"{EXPERIMENT}trainer:\n  max_steps: 3\n", ["'trainer.max_steps'", "trainer.max_epochs"]),
        ("model:\n  channels: 3\n", ["first line", "# @package _global_"]),
        (f"{EXPERIMENT}model: [1\n", ["cannot read a file", "mine.yaml"]),
        (f"{EXPERIMENT}defaults:\n  - override /model: larg\n", ["did you mean model=large?"]),
        (f"{EXPERIMENT}defaults:\n  - override /modle: large\n", ["'modle'", "'model'"]),
        (f"{EXPERIMENT}seed: ${{nix}}\n", ["nix"]),
        (f"{EXPERIMENT}optimizer: 3\n", ["optimizer"]),
    ],
)
def test_a_mistake_in_a_file_of_the_user_s_own(
    text: str,
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    message = message_of(["--config-dir", "mine", "experiment=mine"], capsys)
    for part in parts:
        assert part in message
    assert "Traceback" not in message
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["callbacks=mine", "callbacks.count.wrod=3"], "callbacks.count.word"),
        (["callbacks=mine", "+callbacks.cuont=3"], "callbacks.count"),
        (["model=mine", "model.widht=3"], "model.width"),
        (["-m", "model=mine", "model.widht=3,4"], "model.width"),
        (["model=mine", "model.widht=3", "optimizer.lrr=1"], "model.widths"),  # nothing composes
    ],
)
def test_a_key_of_the_user_s_own_file_is_the_one_that_was_meant(
    arguments: list[str],
    meant: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {
        "callbacks": "defaults: [default]\ncount: {_target_: mine.Count, word: n}\n",
        "model": "_target_: mine.Net\nwidth: 8\n",
    }
    for group, text in files.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    message = message_of(["--config-dir", ".", *arguments], capsys)
    assert f"did you mean {meant!r}?" in message


def test_what_a_file_of_the_user_s_own_may_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /schedule: cosine\ntrainer:\n"
        "  gradient_clip_val: 1\nschedule:\n  eta_min: 0.1\ncallbacks:\n  stop:\n"
        "    _target_: lightning.pytorch.callbacks.EarlyStopping\n    monitor: val/loss\n"
    )
    (cfg,) = check_command_line(["--config-dir", str(tmp_path), "experiment=mine"])
    assert cfg.callbacks.stop.monitor == "val/loss"


def test_a_class_of_the_user_s_own_in_place_of_a_choice_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the message advises works: a file of its own, or less keys."""
    monkeypatch.chdir(tmp_path)
    target = "_target_: tests.own_parts.Smooth\n"
    for name, text in {
        "experiment/smooth.yaml": f"# @package _global_\nloss:\n  {target}",
        "loss/smooth.yaml": f"{target}smoothing: 0.2\n",
    }.items():
        Path(name).parent.mkdir()
        Path(name).write_text(text)
    message = message_of(["--config-dir", ".", "experiment=smooth"], capsys)
    assert "does not take ignore_index, which loss=cross_entropy has" in message
    assert "loss/NAME.yaml" in message
    for arguments in (
        ["--config-dir", ".", "experiment=smooth", "~loss.ignore_index"],
        ["--config-dir", ".", "loss=smooth"],
        ["optimizer._target_=tests.own_parts.Sign", "~optimizer.weight_decay"],
    ):
        build(*check_command_line([*arguments, "trainer.accelerator=cpu"]))


def test_the_cure_for_letters_outside_ascii_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the hint shows is read as the shell reads it, and a run goes there."""
    monkeypatch.chdir(tmp_path)
    message = message_of(["hydra.run.dir=läufe/müller's"], capsys)
    (cure,) = shlex.split(message[message.index('"') :])
    monkeypatch.setattr(sys, "argv", ["train", "debug=step", "model.channels=2", cure])
    main()
    assert (tmp_path / "läufe" / "müller's" / "metrics.json").is_file()


def test_cuda_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = message_of(["trainer.accelerator=cuda"], capsys)
    assert "trainer.accelerator=cuda: there is no CUDA device" in message
    assert "trainer.accelerator=cpu" in message
    assert list(tmp_path.iterdir()) == []


def test_damaged_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path, "MNIST")
    labels = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    message = message_of(["data=mnist", f"data.root={tmp_path}"], capsys)
    assert f"data: {labels} is damaged" in message
    assert "delete it" in message
    assert list((tmp_path / "here").iterdir()) == []


def test_a_finished_run_with_other_settings_is_refused_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["train", "debug=step", "hydra.run.dir=run", "model.channels=2"]
    monkeypatch.setattr(sys, "argv", call)
    main()
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    message = message_of([*call[1:], "optimizer.lr=0.5"], capsys)
    assert "run holds a finished run with other settings of optimizer.lr; delete it" in message
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("argument", "part", "full"),
    [
        ("optimizer.lrr=1", "did you mean 'optimizer.lr'", "1"),  # before Hydra, so no trace
        pytest.param(
            "trainer.max_epochs=0", "trainer.max_epochs=0 must be", "1", marks=pytest.mark.slow
        ),
        ("model.channels=0", "channels=0 must be a whole number", "0"),
        pytest.param(
            "model.channels=0", "channels=0 must be a whole number", "1", marks=pytest.mark.slow
        ),
    ],
)
def test_the_same_as_a_process(argument: str, part: str, full: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "context_agg.train", argument],
        cwd=tmp_path,
        env={**os.environ, "HYDRA_FULL_ERROR": full},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode != 0
    assert part in result.stderr
    assert ("Traceback" in result.stderr) == ("channels" in argument and full == "1")
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["+trainer.gradient_clip_val=1.0"],
        ["optimizer=sgd", "+optimizer.nesterov=true"],
        ["++model.channels=3"],
        ["model.dilations.0=2"],
        ["~optimizer.weight_decay"],
        ["debug=step", "callbacks.best_checkpoint.monitor=val/loss"],
        ["model=basic,linear", "-m"],
        ["callbacks=[gradient_alignment,weight_averaging]"],
        ["experiment=[lecture_mnist,best_mnist]"],
        ["experiment=digits/backprop"],
        ["experiment=best_mnist", "~schedule"],
        ["+trainer.detect_anomaly=true", "+trainer.accumulate_grad_batches=2"],
        ["+callbacks.mine._target_=lightning.pytorch.callbacks.Timer"],
        ["~callbacks.label_images"],
        ["--cfg", "job"],
    ],
)
def test_what_is_right_is_not_refused(arguments: list[str]) -> None:
    check_command_line(arguments)


@contextmanager
def closed_pipe() -> Iterator[io.TextIOWrapper]:
    """Makes standard output a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout, redirect_stdout(stdout):
        yield stdout


@pytest.mark.parametrize("flush", [True, False])
def test_a_closed_pipe_ends_a_command_silently(
    flush: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    @exit_on_mistake()
    def main() -> None:
        print("an answer", flush=flush)

    with closed_pipe() as stdout:
        with pytest.raises(SystemExit) as exit_:
            main()
        stdout.flush()  # as Python does when it ends
    assert exit_.value.code == 141
    assert capsys.readouterr().err == ""


def test_a_mistake_stays_a_message_when_the_pipe_is_closed() -> None:
    with closed_pipe(), pytest.raises(SystemExit, match="no such thing"), exit_on_mistake():
        raise OSError("no such thing")


@pytest.mark.parametrize("command", ["predict", "evaluate", "export", "report"])
def test_every_command_ends_silently(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with closed_pipe():
        assert call(command, "--help") == 141
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_training_ends_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with closed_pipe():
        assert call("train", "debug=step") == 141
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_the_first_line_of_a_command_is_enough(tmp_path: Path) -> None:
    images = [tmp_path / f"{number}.png" for number in range(20)]
    for image in images:
        Image.fromarray(255 * np.eye(9, dtype=np.uint8)).save(image)
    model = Path(__file__).parents[2] / "models" / "basic_mnist"
    assert call("predict", str(model), str(images[0])) == 0  # compiles the kernels, and says so
    with subprocess.Popen(
        [sys.executable, "-m", "context_agg.predict", model, *images],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline().startswith(str(images[0]))
        command.stdout.close()
        assert command.stderr.read() == ""
    assert command.returncode == 141
