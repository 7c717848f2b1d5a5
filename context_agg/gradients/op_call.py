"""An operator of any kind, as a function of the floating-point tensors among its inputs."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.func import functional_call

Op = Callable[..., Any] | type[Function] | nn.Module
"""A function of tensors, an autograd.Function or its .apply, a torch.library operator, a module."""

SEED = 0  # set before every call, so that dropout, for one, always drops the same entries


class Differentiable(Protocol):
    """A function of tensors, with the values at which to differentiate it."""

    @property
    def names(self) -> Sequence[str]:
        """What the operands are called."""

    @property
    def operands(self) -> Sequence[Tensor]:
        """The values at which to differentiate."""

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]: ...


class Call:
    """Calls an operator with other tensors in place of its floating-point inputs and parameters.

    Attributes:
        names: what these tensors are called.
        operands: their values, detached.
        given: the tensors that were given, with what autograd knows of them.
    """

    def __init__(
        self,
        op: Op,
        inputs: Sequence[Any],
        parameters: Mapping[str, Tensor],
        device: torch.device,
        names: Sequence[str],
    ) -> None:
        self._function = _function(op)
        self._arguments = map_tensors(
            lambda t: t.detach().to(device), [tuple(inputs), dict(parameters)]
        )
        positional, keyword = self._arguments
        named = [(names[i], argument) for i, argument in enumerate(positional)]
        taken = set(names)
        named += [(f"parameter {n}" if n in taken else n, p) for n, p in keyword.items()]
        found = [pair for name, part in named for pair in floats(part, name)]
        self.names = [name for name, _ in found]
        self.operands = [tensor for _, tensor in found]
        self.given = [t for _, t in floats([tuple(inputs), dict(parameters)], "")]

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The floating-point outputs, in their order."""
        values = iter(tensors)
        positional, keyword = map_tensors(
            lambda t: next(values) if t.is_floating_point() else t, self._arguments
        )
        _seed(tensors)
        return tuple(output for _, output in floats(self._function(positional, keyword), "y"))


def input_names(op: Op, number: int) -> list[str]:
    """The names of the first inputs; "input 0" where they have none."""
    fallback = [f"input {i}" for i in range(number)]
    return [*declared(op)[:number], *fallback[len(declared(op)) :]]


def title(op: Op) -> str:
    """What the operator is called."""
    cls = _function_class(op)
    name = getattr(cls or op, "__name__", None) or type(op).__name__
    return str(getattr(op, "_qualname", name))


def declared(op: Op) -> list[str]:
    """The names of the inputs; none of a builtin."""
    overload = getattr(op, "_opoverload", op)  # of what torch.library.custom_op returns
    schema = getattr(getattr(overload, "default", overload), "_schema", None)
    if schema is not None:
        return [argument.name for argument in schema.arguments]
    cls = _function_class(op)
    function = cls.forward if cls else op.forward if isinstance(op, nn.Module) else op
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in positional]
    return names[1:] if cls and not takes_no_context(cls) else names


def _function_class(op: Op) -> type[Function] | None:
    is_apply = getattr(op, "__name__", None) == "apply"  # and not another method of the class
    for candidate in (op, getattr(op, "__self__", None) if is_apply else None):
        if isinstance(candidate, type) and issubclass(candidate, Function):
            return candidate
    return None


def takes_no_context(cls: type[Function]) -> bool:
    """Whether the forward of an autograd.Function is written apart from its setup_context."""
    return cls.setup_context is not Function.setup_context


def _function(op: Op) -> Callable[[Any, Any], Any]:
    """The operator as a function of its inputs and its parameters."""
    if isinstance(op, nn.Module):
        copies: dict[tuple[torch.device, torch.dtype], nn.Module] = {}

        def call(positional: Any, keyword: Any) -> Any:
            like = next(t for _, t in floats([positional, keyword], ""))
            place = like.device, like.dtype
            if place not in copies:
                copies[place] = _copied(op, like)
            own = dict(chain(op.named_parameters(), op.named_buffers()))
            constants = {  # copies, because batch norm writes into its buffers
                name: tensor.detach().to(
                    like.device, like.dtype if tensor.is_floating_point() else None, copy=True
                )
                for name, tensor in own.items()
                if name not in keyword
            }
            if torch.is_grad_enabled():
                for name, parameter in copies[place].named_parameters():
                    parameter.requires_grad_(name in keyword and keyword[name].requires_grad)
            return functional_call(copies[place], {**keyword, **constants}, tuple(positional))

        return call
    cls = _function_class(op)
    function: Any = op
    if cls is not None:
        return lambda positional, _: cls.apply(*positional)
    return lambda positional, keyword: function(*positional, **keyword)


def _copied(module: nn.Module, like: Tensor) -> nn.Module:
    """The module in the dtype and on the device of a tensor.

    A backward that computes the forward again, as that of a checkpoint, reads the parameters of the
    module itself: `functional_call` has put them back by then.
    """
    try:
        return copy.deepcopy(module).to(like)
    except RuntimeError:  # it holds tensors that autograd has made
        return module


def _seed(tensors: Sequence[Tensor]) -> None:
    if any(tensor.device.type != "cpu" for tensor in tensors):
        torch.manual_seed(SEED)
    else:
        torch.default_generator.manual_seed(SEED)  # a hundred times as fast


def map_tensors(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """The same lists, tuples, dictionaries and dataclasses with every tensor changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        made = copy.copy(tree) if isinstance(tree, MutableMapping) else dict(tree)
        for key, part in tree.items():
            made[key] = map_tensors(change, part)
        return made
    if is_dataclass(tree) and not isinstance(tree, type):
        same = copy.copy(tree)
        for field in fields(tree):
            object.__setattr__(same, field.name, map_tensors(change, getattr(tree, field.name)))
        return same
    if isinstance(tree, list | tuple):
        parts = [map_tensors(change, part) for part in tree]
        if isinstance(tree, list):
            return parts
        if all(new is old for new, old in zip(parts, tree, strict=True)):
            return tree  # a torch.Size, for one
        return tree._make(parts) if hasattr(tree, "_make") else tuple(parts)  # a named tuple
    return tree


def floats(tree: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The floating-point tensors in lists, tuples, mappings and dataclasses, with their names."""
    if isinstance(tree, Tensor):
        if tree.is_complex():
            raise ValueError(f"{name} is complex; pass torch.view_as_real(...) of it instead")
        if tree.is_nested:
            raise ValueError(f"{name} is nested; only tensors of one shape can be checked")
        if tree.layout != torch.strided:
            raise ValueError(f"{name} is sparse; only dense tensors can be checked")
        if tree.is_floating_point():
            yield name, tree
    elif isinstance(tree, Mapping):
        for key, part in tree.items():
            yield from floats(part, f"{name}[{key!r}]")
    elif is_dataclass(tree) and not isinstance(tree, type):
        for field in fields(tree):
            yield from floats(getattr(tree, field.name), f"{name}.{field.name}")
    elif isinstance(tree, list | tuple):
        for i, part in enumerate(tree):
            yield from floats(part, f"{name}[{i}]")
