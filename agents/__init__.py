"""Policies: query networks, the batch-mode double DQN and its training, Stable-Baselines3 agents, acquisitions.

Import each from its module. `query_policy` loads and plays a policy and needs torch; `training` also needs TensorBoard;
`tianshou_adapter` imports tianshou and `sb3` imports Stable-Baselines3, which takes seconds.
"""

if __name__ != "ralseg.agents":
    raise ImportError("import ralseg.agents; importing it as agents would create a second copy of every class")
