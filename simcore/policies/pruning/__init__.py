from simcore.policies.base import Family
from simcore.policies.pruning.base import Pruning
from simcore.policies.pruning.streaming_llm import StreamingLLM

PRUNING: Family[Pruning] = Family("pruning", Pruning, (StreamingLLM,))
