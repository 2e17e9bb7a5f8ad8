"""Terms of fitted properties bear the names of their properties, so that tables and summaries say what is in them."""

from oreflow.agent.config.run import Config
from oreflow.agent.config.sections import TermConfig
from oreflow.envs.errors import OreflowError
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.energy.predicted_property import PredictedProperty

_NAME = "predicted_property"


def name_properties(config: Config) -> Config:
    """Label each term `predicted_property` of a config after its property, where it has no label; return the config.

    A label that another term of the config has already is not given: the term then keeps its own name.
    """
    taken = {term.label or term.name for term in config.reward.terms}
    for term in config.reward.terms:
        if term.name == _NAME and term.label is None:
            label = _property_of(term)
            if label is not None and label not in taken:
                term.label = label
                taken.add(label)
    return config


def _property_of(term: TermConfig) -> str | None:
    """The name of a term's property; None where the term cannot be built, which is said when it is."""
    try:
        made = make_term(term.name, term.params)
    except OreflowError:
        return None
    return made.property_name if isinstance(made, PredictedProperty) else None
