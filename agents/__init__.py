"""Who chooses: query networks, the batch-mode double DQN, its training, Stable-Baselines3 agents, acquisitions.

Import what is needed from its module: `query_policy` (load and play a policy) needs torch alone, `training` imports
tianshou, which takes seconds, and `sb3` Stable-Baselines3.
"""

if __name__ != "ralseg.agents":
    raise ImportError("import ralseg.agents: under the name agents every class would exist a second time")
