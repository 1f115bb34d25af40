"""GAN tickets: iterative magnitude pruning with rewinding, one run a round."""

from ..method import Method, Statistic
from .config import TicketConfig
from .outlook import completed, label, outlook, told

METHOD = Method(
    name="ticket",
    title="GAN tickets",
    hook="training_hooks.methods.tickets.hook.Tickets",
    config=TicketConfig,
    source="GAN tickets, NeurIPS 2021",
    switch="init",
    order=2,
    networks=lambda config: ("G", "D") if config.mask else ("G",),
    label=label,
    completed=completed,
    plan=outlook,
    told=told,
    excludes=dict.fromkeys(("regan", "rg"), "each of them owns the masks of the networks"),
    statistics=(
        Statistic("Ticket/round", "Round of the ticket", "round", "", "how often its masks have been pruned; 0 is dense",
                  is_drawn=False),
        Statistic("Ticket/sparsity_G", "Sparsity of G", "share of masked weights", "%",
                  "share of the weights with a mask of G that are 0; 0 without a mask", 100, is_drawn=False),
        Statistic("Ticket/sparsity_D", "Sparsity of D", "share of masked weights", "%", "the same of D", 100, is_drawn=False),
    ),
)  # fmt: skip
